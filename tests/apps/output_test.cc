// where results go: never over an input, never lost in silence, never into another file

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "apps/workbench.h"
#include "drop/data/hdf5.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::checkpoint_of;
using testing::expect_done;
using testing::expect_refusal;
using ::testing::HasSubstr;
using testing::ProcessResult;
using testing::program;
using testing::run_process;
using testing::run_program;

class Output : public testing::Workbench {
 protected:
  // a command through a shell, for what only that can do with standard descriptors
  static ProcessResult in_shell(const Arguments& command, const std::string& redirections) {
    Arguments shell = {"/bin/sh", "-c", "exec \"$@\" " + redirections, "sh"};
    return run_process(shell + command);
  }

  std::string copy_of(const std::string& path, const std::string& name) {
    std::filesystem::copy_file(path, file(name));
    return file(name);
  }
};

TEST_F(Output, AnInputIsNeverWrittenOver) {
  const std::string data = copy_of(testing::maze_data(), "data.hdf5");
  const std::string checkpoint =
      copy_of(checkpoint_of(testing::finished_run(), 60), "c.safetensors");
  const std::string run = file("run");
  std::filesystem::copy(testing::finished_run(), run, std::filesystem::copy_options::recursive);
  Hdf5ResultWriter writer(file("states.h5"));
  writer.add("states", {1, 4}, std::vector<float>(4, 1.0f));
  writer.close();
  std::filesystem::create_symlink(data, file("link"));
  std::filesystem::create_symlink(file("x"), file("dangling"));

  const std::string states = file("states.h5");
  const std::string kept = checkpoint_of(run, 40);
  const std::map<std::string, std::string> before = {{data, read_text_file(data)},
                                                     {checkpoint, read_text_file(checkpoint)},
                                                     {states, read_text_file(states)},
                                                     {kept, read_text_file(kept)}};
  const Arguments infer = {"--checkpoint", checkpoint, "--states", states, "--out"};
  const Arguments eval = {"--checkpoint", checkpoint, "--rule", "best", "--episodes", "1"};
  const std::vector<std::pair<std::string, Arguments>> commands = {
      {"drop_data", {"decompose", data, "--out", data, "--force"}},
      {"drop_data", {"decompose", data, "--out", file("link"), "--force"}},
      {"drop_data", {"decompose", data, "--out", file("d.json"), "--json", file("d.json")}},
      {"drop_data", {"inspect", data, "--json", data}},
      {"drop_data", {"replay", "--file", data, "--json", data}},
      {"drop_data", {"verify", data, "--json", data}},
      {"drop_data", {"generate", "--policy", checkpoint, "--out", checkpoint, "--force"}},
      {"drop_infer", infer + Arguments{checkpoint}},
      {"drop_infer", infer + Arguments{states}},
      {"drop_eval", eval + Arguments{"--json", checkpoint}},
      {"drop_eval", eval + Arguments{"--trace", checkpoint}},
      {"drop_eval", eval + Arguments{"--trace", file("x"), "--json", file("x")}},
      {"drop_eval", eval + Arguments{"--trace", "x.out", "--json", "./x.out"}},
      {"drop_eval", eval + Arguments{"--trace", file("x"), "--json", file("dangling")}},
      {"drop_bench", {"data", "--dataset", data, "--json", data}},
      {"drop_finetune", {"--run", run, "--level", "checkpoint", "--json", testing::maze_data()}},
      {"drop_finetune", {"--run", run, "--level", "checkpoint", "--json", kept}}};
  for (const auto& [name, arguments] : commands) {
    SCOPED_TRACE(name + " " + arguments.front());
    testing::ProcessOptions here;
    here.folder = file("");
    expect_refusal(run_program(name, arguments + Arguments{"--quiet"}, here), name, 2,
                   {"found as output what is already"});
  }
  EXPECT_FALSE(std::filesystem::exists(file("x.out")));
  for (const auto& [path, bytes] : before) EXPECT_EQ(read_text_file(path), bytes) << path;
  EXPECT_FALSE(std::filesystem::exists(file("d.json")));
  EXPECT_FALSE(std::filesystem::exists(file("x")));
}

TEST_F(Output, AFullOrClosedStandardOutputIsNoSuccess) {
  const std::vector<Arguments> commands = {
      program("drop_data", {"--version"}), program("drop_eval", {"--help"}),
      program("drop_train", {"--config", config(), "--dry-run"}),
      program("drop_data", {"inspect", testing::maze_data(), "--json", "-", "--quiet"})};
  for (const Arguments& command : commands) {
    SCOPED_TRACE(command.at(1));
    expect_done(in_shell(command, ">/dev/null"));
    for (const char* redirection : {">/dev/full", ">&-"}) {
      const ProcessResult result = in_shell(command, redirection);
      EXPECT_EQ(result.status, 1) << redirection;
      EXPECT_THAT(result.err, HasSubstr("error: standard output: the results could not"));
    }
  }
}

TEST_F(Output, ClosedDescriptorsLeaveTheFilesOfARunAlone) {
  const std::string run = file("run");
  in_shell(train_command(run, {"--set", "eval.every=60"}), "<&- >&- 2>&-");
  EXPECT_EQ(testing::json_of(run + "/status.json")["state"], "finished");
  testing::expect_same_state(run, testing::finished_run(), 60);
  EXPECT_EQ(read_text_file(run + "/run.lock"), "");
  EXPECT_THAT(read_text_file(run + "/train.log"), ::testing::Not(HasSubstr("60/60")));
  for (const testing::MetricRow& row : testing::metrics_of(run)) EXPECT_NE(row.value, "");
}

// `drop_train 2>&1 | head -1`
TEST_F(Output, AReaderThatIsGoneEndsNoTraining) {
  const std::string run = file("run");
  const Arguments command = train_command(run);
  Arguments shell = {"/bin/sh", "-c", "\"$@\" 2>&1 | true", "sh"};
  expect_done(run_process(shell + command));
  EXPECT_EQ(testing::json_of(run + "/status.json")["state"], "finished");
  testing::expect_same_state(run, testing::finished_run(), 60);
}

TEST_F(Output, ValuesThatTheParserWouldBendAreRefused) {
  const std::string made = file("made.hdf5");
  const Arguments generate = {"generate", "--task", "maze2d-umaze", "--out", made, "--quiet"};
  expect_refusal(run_program("drop_data", generate + Arguments{"--steps", "50", "--noise", "nan"}),
                 "drop_data", 2, {"--noise", "nan", "finite"});
  expect_refusal(run_program("drop_data", generate + Arguments{"--steps", "0100"}), "drop_data", 2,
                 {"--steps", "0100", "without a leading 0"});
  EXPECT_FALSE(std::filesystem::exists(made));
  for (const char* option : {"--json", "--trace", "--video", "--cache"}) {
    expect_refusal(run_program("drop_eval", {"--checkpoint", testing::finished_run(), option, ""}),
                   "drop_eval", 2, {option, "nothing"});
  }
  expect_refusal(train("", {}), "drop_train", 2, {"--out", "nothing"});
  expect_refusal(run_program("drop_finetune", {"--run", testing::finished_run(), "--level",
                                               "parametric", "--noise", "nan"}),
                 "drop_finetune", 2, {"--noise", "nan"});
  // what is meant stays allowed
  expect_done(
      run_program("drop_data", generate + Arguments{"--steps", "50", "--noise", "--seed", "0"}));
}

}  // namespace
}  // namespace drop
