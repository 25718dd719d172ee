#include "drop/log/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <string>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;

class Logging : public ::testing::Test {
 protected:
  void TearDown() override { configure_logging("info", false); }
};

// what one line of each level leaves on standard error
std::string stderr_of_all_levels() {
  ::testing::internal::CaptureStderr();
  log().debug("a debug line");
  log().info("an info line");
  log().warn("a warn line");
  log().error("an error line");
  return ::testing::internal::GetCapturedStderr();
}

TEST_F(Logging, InformationIsPlainAndTroubleIsMarked) {
  configure_logging("debug", false);
  EXPECT_THAT(stderr_of_all_levels(),
              MatchesRegex("..:..:.. \\[debug\\] a debug line\n..:..:.. an info line\n"
                           "..:..:.. \\[warning\\] a warn line\n"
                           "..:..:.. \\[error\\] an error line\n"));
}

TEST_F(Logging, TheLevelDecidesWhatAppears) {
  configure_logging("info", false);
  EXPECT_THAT(stderr_of_all_levels(), Not(HasSubstr("debug line")));
  configure_logging("warn", false);
  EXPECT_THAT(stderr_of_all_levels(), Not(HasSubstr("info line")));
  configure_logging("error", false);
  EXPECT_THAT(stderr_of_all_levels(), Not(HasSubstr("warn line")));
  configure_logging("off", false);
  EXPECT_THAT(stderr_of_all_levels(), IsEmpty());
}

TEST_F(Logging, QuietLeavesErrors) {
  configure_logging("debug", true);
  EXPECT_THAT(stderr_of_all_levels(), MatchesRegex("..:..:.. \\[error\\] an error line\n"));
}

TEST_F(Logging, NothingGoesToStandardOutput) {
  ::testing::internal::CaptureStdout();
  stderr_of_all_levels();
  EXPECT_THAT(::testing::internal::GetCapturedStdout(), IsEmpty());
}

TEST_F(Logging, UnknownLevelsAreWrongUsage) {
  try {
    configure_logging("inof", false);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("found 'inof'; allowed: trace, debug, info, warn, error, "
                                        "off; did you mean info?"));
  }
}

TEST_F(Logging, AFileGetsEveryLineUntilItIsRemoved) {
  testing::TemporaryFolder folder;
  const std::string path = folder.file("train.log");
  write_file_atomically(path, std::string_view("earlier session\n"));
  configure_logging("info", true);
  add_log_file(path);
  add_log_file(path);  // no line twice
  stderr_of_all_levels();
  // on disk at once, without a flush
  const std::string text = read_text_file(path);
  EXPECT_THAT(text, ::testing::StartsWith("earlier session\n"));
  EXPECT_THAT(text, MatchesRegex("earlier session\n.* an info line\n.* \\[warning\\] a warn line\n"
                                 ".* \\[error\\] an error line\n"));
  remove_log_file(path);
  stderr_of_all_levels();
  EXPECT_EQ(read_text_file(path), text);
  remove_log_file(path);
}

TEST_F(Logging, AFileThatCannotBeWrittenIsARunError) {
  testing::TemporaryFolder folder;
  write_file_atomically(folder.path() / "file", std::string_view(""));
  EXPECT_THROW(add_log_file(folder.path() / "file" / "train.log"), RunError);
}

}  // namespace
}  // namespace drop
