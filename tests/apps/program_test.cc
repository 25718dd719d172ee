// what all programs have in common: help, version, refusals, --quiet, --log-level

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "apps/workbench.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::expect_refusal;
using ::testing::HasSubstr;
using testing::ProcessResult;
using testing::run_program;

struct Program {
  std::string name;
  Arguments required;  // enough for the parser; the files need not exist
  std::string first_required;
};

void PrintTo(const Program& program, std::ostream* out) { *out << program.name; }

class Programs : public ::testing::TestWithParam<Program> {
 protected:
  ProcessResult run(const Arguments& arguments) { return run_program(GetParam().name, arguments); }
};

TEST_P(Programs, HelpExplainsEveryOptionAndShowsAnExample) {
  const ProcessResult result = run({"--help"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, HasSubstr("Example"));
  for (const char* option : {"--help", "--version", "--quiet", "--log-level"}) {
    EXPECT_THAT(result.out, HasSubstr(option));
  }
  // the example is a command line of this very program
  const size_t example = result.out.find("Example");
  EXPECT_NE(result.out.find(GetParam().name + " ", example), std::string::npos);
  // every option has a word of help: behind its name and type, or below where these are long
  const std::vector<std::string> lines = testing::lines_of(result.out);
  for (size_t i = 0; i < lines.size(); ++i) {
    const size_t name = lines[i].find("--");
    if (!lines[i].starts_with("  -") || name == std::string::npos) continue;
    const bool below = i + 1 < lines.size() && lines[i + 1].starts_with("          ");
    EXPECT_TRUE(below || lines[i].find("  ", name) != std::string::npos) << lines[i];
  }
}

TEST_P(Programs, VersionIsOneLineWithoutAnyEnvironment) {
  testing::ProcessOptions bare;
  bare.clear_environment = true;
  const ProcessResult result = run_program(GetParam().name, {"--version"}, bare);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  int numbers[3];
  int length = 0;
  std::sscanf(result.out.c_str(), "drop %d.%d.%d%n", &numbers[0], &numbers[1], &numbers[2],
              &length);
  EXPECT_GT(length, 0) << result.out;
  EXPECT_EQ(result.out.substr(static_cast<size_t>(length)), "\n");
}

TEST_P(Programs, WrongUsageIsOneLineThatNamesTheOption) {
  expect_refusal(run(GetParam().required + Arguments{"--no-such-option"}), GetParam().name, 2,
                 {"--no-such-option", "--help"});
  expect_refusal(run({}), GetParam().name, 2, {GetParam().first_required});
  expect_refusal(run(GetParam().required + Arguments{"--log-level", "loud"}), GetParam().name, 2,
                 {"loud", "debug"});
}

INSTANTIATE_TEST_SUITE_P(
    All, Programs,
    ::testing::Values(Program{"drop_train", {"--config", "missing.yaml"}, "--config"},
                      Program{"drop_eval", {"--checkpoint", "missing"}, "--checkpoint"},
                      Program{"drop_infer",
                              {"--checkpoint", "missing", "--states", "s", "--out", "r"},
                              "required"},
                      Program{"drop_bench", {"env", "--task", "nowhere"}, "subcommand"},
                      Program{"drop_data", {"inspect", "missing.hdf5"}, "subcommand"}),
    [](const auto& info) { return info.param.name; });

TEST(DropDataCommands, EachHasHelpWithAnExample) {
  for (const std::string command :
       {"inspect", "decompose", "download", "verify", "generate", "replay"}) {
    SCOPED_TRACE(command);
    const ProcessResult result = run_program("drop_data", {command, "--help"});
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.err, "");
    EXPECT_THAT(result.out, HasSubstr("Example: drop_data " + command));
    expect_refusal(run_program("drop_data", {command}), "drop_data", 2,
                   {command == "download" ? "--list" : "required"});
  }
}

}  // namespace
}  // namespace drop
