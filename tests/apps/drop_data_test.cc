// drop_data: inspect, decompose, generate

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/workbench.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::expect_done;
using testing::expect_refusal;
using ::testing::HasSubstr;
using testing::Json;
using testing::ProcessResult;
using testing::run_program;

class DropData : public testing::Workbench {
 protected:
  static Json parsed(const std::string& text) {
    const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    EXPECT_FALSE(json.is_discarded()) << text;
    return json;
  }
};

TEST_F(DropData, InspectTellsPeopleAndPrograms) {
  const std::string path = testing::fixture("hopper_medium-v2.hdf5");
  const ProcessResult text = run_program("drop_data", {"inspect", path, "--quiet"});
  expect_done(text);
  EXPECT_EQ(text.err, "");
  EXPECT_THAT(text.out, HasSubstr("hopper-medium-v2"));
  EXPECT_THAT(text.out, HasSubstr(sha256_of_file(path)));

  const ProcessResult json = run_program("drop_data", {"inspect", path, "--json", "-"});
  expect_done(json);
  EXPECT_EQ(parsed(json.out)["sha256"], sha256_of_file(path));
  const ProcessResult both =
      run_program("drop_data", {"inspect", path, "--json", file("o.json"), "--quiet"});
  expect_done(both);
  EXPECT_EQ(both.out, text.out);
  EXPECT_EQ(testing::json_of(file("o.json")), parsed(json.out));
}

TEST_F(DropData, InspectShowsABadFileAndFails) {
  const std::string path = testing::fixture("broken_not_finite.hdf5");
  const ProcessResult result = run_program("drop_data", {"inspect", path, "--quiet"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.out, HasSubstr("rewards"));
  EXPECT_EQ(testing::lines_of(result.err).size(), 1u) << result.err;
  EXPECT_THAT(result.err, HasSubstr("row 13"));
  for (const char* name : {"broken_no_rewards.hdf5", "broken_lengths.hdf5", "missing.hdf5"}) {
    const std::string broken = testing::fixture(name);
    expect_refusal(run_program("drop_data", {"inspect", broken, "--quiet"}), "drop_data", 3,
                   {broken});
  }
}

TEST_F(DropData, DecomposeWritesWhatDropTrainWrites) {
  const ProcessResult result =
      run_program("drop_data", {"decompose", testing::maze_data(), "--num-subtasks", "4",
                                "--trajectories-per-subtask", "3", "--out", file("d.json"),
                                "--json", "-", "--quiet"});
  expect_done(result);
  EXPECT_EQ(result.err, "");
  const Json json = testing::json_of(file("d.json"));
  EXPECT_EQ(parsed(result.out), json);
  EXPECT_EQ(json, testing::json_of(testing::finished_run() + "/decomposition.json"));
  expect_refusal(run_program("drop_data", {"decompose", testing::maze_data(), "--rule", "rnak",
                                           "--out", file("e.json"), "--quiet"}),
                 "drop_data", 2, {"rnak", "rank"});
  expect_refusal(run_program("drop_data", {"decompose", testing::maze_data(), "--num-subtasks", "0",
                                           "--out", file("e.json"), "--quiet"}),
                 "drop_data", 2, {"--num-subtasks"});
  EXPECT_FALSE(std::filesystem::exists(file("e.json")));
  // what is there stays, but for --force
  const Arguments again = {"decompose", testing::maze_data(), "--out", file("d.json"), "--quiet"};
  expect_refusal(run_program("drop_data", again), "drop_data", 2, {file("d.json"), "--force"});
  EXPECT_EQ(testing::json_of(file("d.json")), json);
  expect_done(run_program("drop_data", again + Arguments{"--force"}));
  EXPECT_NE(testing::json_of(file("d.json")), json);
}

TEST_F(DropData, GenerateRepeatsItselfAndNeverOverwritesUnasked) {
  const auto generate = [&](const std::string& name, const Arguments& more,
                            const std::string& task = "maze2d-umaze") {
    return run_program("drop_data", Arguments{"generate", "--task", task, "--steps", "500", "--out",
                                              file(name), "--quiet"} +
                                        more);
  };
  const ProcessResult first = generate("a.hdf5", {});
  expect_done(first);
  EXPECT_EQ(first.err, "");
  expect_done(generate("b.hdf5", {}));
  const std::string bytes = read_text_file(file("a.hdf5"));
  EXPECT_EQ(read_text_file(file("b.hdf5")), bytes);

  expect_refusal(generate("a.hdf5", {"--seed", "1"}), "drop_data", 2, {file("a.hdf5"), "--force"});
  EXPECT_EQ(read_text_file(file("a.hdf5")), bytes);
  expect_done(generate("a.hdf5", {"--seed", "1", "--force"}));
  EXPECT_NE(read_text_file(file("a.hdf5")), bytes);

  expect_refusal(generate("c.hdf5", {}, "maze2d-nowhere"), "drop_data", 2, {"maze2d-nowhere"});
  expect_refusal(generate("c.hdf5", {}, "hopper"), "drop_data", 2, {"hopper"});
  expect_refusal(generate("no such folder/c.hdf5", {}), "drop_data", 1, {"no such folder"});
  EXPECT_EQ(testing::names_in(file("")).size(), 2u);
}

}  // namespace
}  // namespace drop
