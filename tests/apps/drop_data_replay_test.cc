// drop_data replay

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/workbench.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/hdf5.h"
#include "drop/env/maze2d_generator.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::expect_done;
using testing::expect_refusal;
using ::testing::HasSubstr;
using testing::Json;
using testing::ProcessResult;
using testing::run_program;

class DropDataReplay : public testing::Workbench {
 protected:
  static ProcessResult replay(const Arguments& arguments) {
    return run_program("drop_data", Arguments{"replay", "--quiet"} + arguments);
  }

  std::string maze() const {
    Maze2dGeneratorOptions options;
    options.task = "maze2d-umaze-dense";
    options.rows = 500;
    options.quiet = true;
    generate_maze2d(options, file("maze2d-umaze-dense.hdf5"));
    return file("maze2d-umaze-dense.hdf5");
  }

  // the same with one action changed
  std::string damaged() const {
    const std::string path = maze();
    const auto read = [&](const std::string& name) { return read_hdf5_array(path, name).values; };
    const std::vector<double> observations = read("observations"), rewards = read("rewards"),
                              timeouts = read("timeouts"), qpos = read("infos/qpos"),
                              qvel = read("infos/qvel");
    std::vector<double> actions = read("actions");
    actions[2 * 123] += actions[2 * 123] > 0.0 ? -1e-3 : 1e-3;
    D4rlWriter writer(file("damaged.hdf5"), 4, 2, {{"infos/qpos", 2}, {"infos/qvel", 2}},
                      {"infos/qpos", "infos/qvel"});
    for (size_t row = 0; row < rewards.size(); ++row) {
      writer.append(std::span(observations).subspan(4 * row, 4),
                    std::span(actions).subspan(2 * row, 2), rewards[row], false,
                    timeouts[row] != 0.0,
                    std::array{qpos[2 * row], qpos[2 * row + 1], qvel[2 * row], qvel[2 * row + 1]});
    }
    writer.close();
    return file("damaged.hdf5");
  }
};

TEST_F(DropDataReplay, TellsPeopleAndPrograms) {
  const std::string path = maze();
  const ProcessResult text = replay({"--task", "maze2d-umaze-dense", "--file", path});
  expect_done(text);
  EXPECT_EQ(text.err, "");
  EXPECT_THAT(text.out, HasSubstr("dense reward of this observation"));
  EXPECT_THAT(text.out, HasSubstr("PASS"));

  const ProcessResult json = replay({"--file", path, "--json", "-"});
  expect_done(json);
  const Json parsed = Json::parse(json.out, nullptr, /*allow_exceptions=*/false);
  ASSERT_FALSE(parsed.is_discarded()) << json.out;
  EXPECT_EQ(parsed["passed"], true);
  EXPECT_EQ(parsed["sha256"], sha256_of_file(path));
  const ProcessResult both = replay({"--file", path, "--json", file("o.json")});
  expect_done(both);
  EXPECT_EQ(both.out, text.out);
  EXPECT_EQ(testing::json_of(file("o.json")), parsed);
}

TEST_F(DropDataReplay, ReadsTheFidelityLayout) {
  const std::string path = testing::fixture("env_fidelity.hdf5");
  expect_done(replay({"--task", "hopper", "--file", path, "--tolerance", "1e-9"}));
  const ProcessResult modern = replay({"--task", "hopper", "--file", path, "--physics", "modern"});
  EXPECT_EQ(modern.status, 1);
}

TEST_F(DropDataReplay, ADamagedActionIsExitOneWithItsPlace) {
  const std::string path = damaged();
  const ProcessResult result =
      replay({"--task", "maze2d-umaze-dense", "--file", path, "--json", file("o.json")});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.out, ::testing::EndsWith("\nFAIL\n"));
  const std::vector<std::string> lines = testing::lines_of(result.err);
  ASSERT_EQ(lines.size(), 1U) << result.err;
  EXPECT_THAT(lines[0], ::testing::StartsWith("drop_data: error: " + path));
  const Json json = testing::json_of(file("o.json"));
  EXPECT_EQ(json["passed"], false);
  EXPECT_EQ(json["tasks"][0]["judged"]["worst"]["row"], 123);
  expect_done(replay({"--task", "maze2d-umaze-dense", "--file", path, "--tolerance", "0.1"}));
}

TEST_F(DropDataReplay, RefusesBadInput) {
  const std::string path = testing::fixture("env_fidelity.hdf5");
  expect_refusal(replay({}), "drop_data", 2, {"--file"});
  expect_refusal(replay({"--file", path, "--task", "nowhere"}), "drop_data", 2, {"nowhere"});
  expect_refusal(replay({"--file", path, "--task", "hopper", "--dataset-id", "maze2d-umaze-v1"}),
                 "drop_data", 2, {"hopper", "maze2d-umaze-v1"});
  expect_refusal(replay({"--file", path, "--physics", "old"}), "drop_data", 2, {"old", "modern"});
  expect_refusal(replay({"--file", path, "--tolerance", "-1"}), "drop_data", 2, {"--tolerance"});
  expect_refusal(replay({"--file", path, "--tolerance", "nan"}), "drop_data", 2, {});
  expect_refusal(replay({"--file", path, "--episodes", "0"}), "drop_data", 2, {"--episodes"});
  expect_refusal(replay({"--file", maze(), "--task", "hopper"}), "drop_data", 2, {"hopper", "11"});
  expect_refusal(replay({"--file", file("no such.hdf5")}), "drop_data", 3, {"no such.hdf5"});
  expect_refusal(replay({"--file", testing::fixture("make_fixtures.py"), "--task", "hopper"}),
                 "drop_data", 3, {"HDF5"});
  for (const char* name : {"broken_no_rewards.hdf5", "broken_lengths.hdf5", "broken_huge.hdf5",
                           "broken_external_link.hdf5"}) {
    expect_refusal(replay({"--file", testing::fixture(name), "--task", "maze2d-umaze"}),
                   "drop_data", 3, {name});
  }
}

}  // namespace
}  // namespace drop
