// drop_bench: rows of every kind, refusals

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "apps/workbench.h"
#include "drop/base/system_report.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::expect_done;
using testing::expect_refusal;
using ::testing::HasSubstr;
using testing::Json;
using testing::ProcessResult;
using testing::run_program;

const Arguments kQuick = {"--hidden-width", "16",   "--threads", "1", "--repetitions", "2",
                          "--seconds",      "0.01", "--json",    "-", "--quiet"};
const Arguments kStep = Arguments{"step", "--batch-size", "32"} + kQuick;
const Arguments kAscent =
    Arguments{"ascent", "--num-starts", "4", "--ascent-steps", "3", "--num-envs", "2"} + kQuick;

std::vector<Json> rows_of(const std::string& text) {
  std::vector<Json> rows;
  for (const std::string& line : testing::lines_of(text)) {
    rows.push_back(Json::parse(line, nullptr, /*allow_exceptions=*/false));
    EXPECT_TRUE(rows.back().is_object()) << line;
  }
  return rows;
}

// what every row must have, whatever was measured
void expect_common_fields(const Json& row, const std::string& benchmark) {
  EXPECT_EQ(row["benchmark"], benchmark);
  EXPECT_EQ(row["threads"], 1);
  EXPECT_TRUE(row["engine"].is_string());
  EXPECT_TRUE(row["device"].is_string());
  EXPECT_TRUE(row["precision"].is_string());
  EXPECT_GT(row["min_s"].get<double>(), 0.0);
  EXPECT_GE(row["median_s"].get<double>(), row["min_s"].get<double>());
  for (const char* field : {"flops", "peak_flops_per_s", "share_of_peak"}) {
    EXPECT_TRUE(row.contains(field)) << field;
  }
}

void expect_share(const Json& row) {
  EXPECT_GT(row["flops"].get<double>(), 0.0);
  EXPECT_GT(row["peak_flops_per_s"].get<double>(), 0.0);
  const double floor_s = row["flops"].get<double>() / row["peak_flops_per_s"].get<double>();
  EXPECT_NEAR(row["share_of_peak"].get<double>() * row["median_s"].get<double>() / floor_s, 1.0,
              1e-9);
}

TEST(DropBench, StepRows) {
  const ProcessResult result =
      run_program("drop_bench", kStep + Arguments{"--task", "hopper", "--num-seeds", "2"});
  expect_done(result);
  EXPECT_EQ(result.err, "");
  std::set<std::string> engines, constraints;
  for (const Json& row : rows_of(result.out)) {
    expect_common_fields(row, "step");
    expect_share(row);
    engines.insert(row["engine"]);
    constraints.insert(row["constraint"]);
    EXPECT_EQ(row["batch_size"], 32);
    EXPECT_EQ(row["hidden_width"], 16);
    EXPECT_EQ(row["state_dim"], 11);
    EXPECT_EQ(row["action_dim"], 3);
    EXPECT_EQ(row["embedding_dim"], 5);
    EXPECT_EQ(row["num_subtasks"], 100);
    EXPECT_EQ(row["num_seeds"], 2);
    EXPECT_NEAR(row["seed_steps_per_s"].get<double>() * row["median_s"].get<double>(), 2.0, 1e-9);
  }
  EXPECT_TRUE(engines.contains("eager"));
  EXPECT_EQ(constraints, (std::set<std::string>{"active", "inactive"}));
}

TEST(DropBench, AscentRows) {
  const ProcessResult result =
      run_program("drop_bench", kAscent + Arguments{"--engine", "autograd"});
  expect_done(result);
  EXPECT_EQ(result.err, "");
  const std::vector<Json> rows = rows_of(result.out);
  ASSERT_FALSE(rows.empty());
  for (const Json& row : rows) {
    expect_common_fields(row, "ascent");
    expect_share(row);
    EXPECT_EQ(row["engine"], "autograd");
    EXPECT_EQ(row["num_starts"], 4);
    EXPECT_EQ(row["ascent_steps"], 3);
    EXPECT_EQ(row["num_envs"], 2);
  }
}

TEST(DropBench, EnvRows) {
  const ProcessResult result =
      run_program("drop_bench", {"env", "--task", "maze2d-umaze", "--num-envs", "2", "--threads",
                                 "1", "--repetitions", "2", "--seconds", "0.01", "--json", "-"});
  expect_done(result);
  const std::vector<Json> rows = rows_of(result.out);
  ASSERT_EQ(rows.size(), 2u);
  for (const Json& row : rows) {
    expect_common_fields(row, "env");
    EXPECT_GT(row["steps_per_s"].get<double>(), 0.0);
  }
  EXPECT_EQ(rows[0]["engine"], "drop");
  EXPECT_EQ(rows[1]["engine"], "mj_step");
}

TEST(DropBench, DataRows) {
  const ProcessResult result =
      run_program("drop_bench", {"data", "--dataset", testing::maze_data(), "--batch-size", "64",
                                 "--threads", "1", "--repetitions", "2", "--json", "-"});
  expect_done(result);
  std::set<std::string> operations;
  for (const Json& row : rows_of(result.out)) {
    expect_common_fields(row, "data");
    operations.insert(row["operation"]);
    EXPECT_EQ(row["rows"], 3000);
    EXPECT_GT(row["share_of_peak"].get<double>(), 0.0);
  }
  EXPECT_EQ(operations, (std::set<std::string>{"draw", "load"}));
}

TEST(DropBench, FixedStepsWithoutPeak) {
  const ProcessResult result = run_program(
      "drop_bench",
      kStep + Arguments{"--steps", "3", "--no-peak", "--engine", "eager", "--precision", "fp32"});
  expect_done(result);
  for (const Json& row : rows_of(result.out)) {
    EXPECT_EQ(row["steps"], 3);
    EXPECT_EQ(row["repetitions"], 2);
    EXPECT_TRUE(row["peak_flops_per_s"].is_null());
    EXPECT_TRUE(row["share_of_peak"].is_null());
    EXPECT_NEAR(row["steps_per_s"].get<double>() * row["median_s"].get<double>(), 1.0, 1e-9);
  }
}

TEST(DropBench, ATableAndAFileHoldTheSameRows) {
  const testing::TemporaryFolder folder;
  const std::string file = folder.file("rows.jsonl");
  Arguments arguments = kStep + Arguments{"--engine", "eager", "--precision", "fp32"};
  *std::find(arguments.begin(), arguments.end(), "-") = file;
  const ProcessResult result = run_program("drop_bench", arguments);
  expect_done(result);
  EXPECT_THAT(result.out, HasSubstr("of peak"));
  const std::vector<Json> rows = rows_of(read_text_file(file));
  EXPECT_EQ(rows.size(), 2u);
  EXPECT_EQ(testing::lines_of(result.out).size(), rows.size() + 1);
}

TEST(DropBench, WhatIsLackingIsALineUnlessAskedForByName) {
  Arguments arguments = kStep;
  arguments.pop_back();  // --quiet
  const ProcessResult result = run_program("drop_bench", arguments + Arguments{"--device", "cpu"});
  expect_done(result);
  EXPECT_THAT(result.err, HasSubstr("left out graph"));
  EXPECT_THAT(result.err, HasSubstr("left out tf32"));
  const Arguments on_cpu = {"--device", "cpu"};
  expect_refusal(run_program("drop_bench", kStep + on_cpu + Arguments{"--engine", "graph"}),
                 "drop_bench", 2, {"graph"});
  expect_refusal(run_program("drop_bench", kStep + on_cpu + Arguments{"--precision", "tf32"}),
                 "drop_bench", 2, {"tf32"});
  expect_refusal(run_program("drop_bench", kAscent + on_cpu + Arguments{"--engine", "cuda"}),
                 "drop_bench", 2, {"cuda"});
}

TEST(DropBench, Refusals) {
  expect_refusal(run_program("drop_bench", {"step", "--engine", "slow"}), "drop_bench", 2,
                 {"--engine", "eager"});
  expect_refusal(run_program("drop_bench", {"step", "--device", "tpu"}), "drop_bench", 2,
                 {"tpu", "cpu"});
  expect_refusal(run_program("drop_bench", {"step", "--batch-size", "0"}), "drop_bench", 2,
                 {"--batch-size"});
  expect_refusal(
      run_program("drop_bench", {"step", "--threads", std::to_string(permitted_cores() + 1)}),
      "drop_bench", 2, {"threads"});
  expect_refusal(run_program("drop_bench", {"step", "--task", "hoper"}), "drop_bench", 2,
                 {"hoper", "hopper"});
  expect_refusal(run_program("drop_bench", {"ascent", "--json", "/no/such/folder/rows"}),
                 "drop_bench", 1, {"/no/such/folder"});
  expect_refusal(run_program("drop_bench", {"data", "--dataset", "no-such-file"}), "drop_bench", 3,
                 {"no-such-file"});
}

TEST(DropBench, EachKindHasHelpWithAnExample) {
  for (const std::string kind : {"step", "ascent", "env", "data"}) {
    SCOPED_TRACE(kind);
    const ProcessResult result = run_program("drop_bench", {kind, "--help"});
    expect_done(result);
    EXPECT_EQ(result.err, "");
    EXPECT_THAT(result.out, HasSubstr("Example: drop_bench " + kind));
  }
}

}  // namespace
}  // namespace drop
