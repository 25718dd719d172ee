#include "base/fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "support/paths.h"

namespace drop {
namespace {

constexpr const char* kFolder = "DROP_FAULT_TEST_FOLDER";

// The hook reads its variable once in a process, so each case is a process of its own: this program
// started anew, which finds the folder through its environment and runs a test up to its case.
class Fault : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    if (std::getenv(kFolder) == nullptr) {
      folder_.emplace();
      ::setenv(kFolder, folder_->path().c_str(), 1);
    }
  }
  void TearDown() override {
    if (folder_) ::unsetenv(kFolder);
  }

  static std::string path() { return std::string(std::getenv(kFolder)) + "/file"; }

  // what a process does that is to fail: two versions of one file
  [[noreturn]] static void write_twice(const char* fault) {
    ::setenv("DROP_FAULT", fault, 1);
    try {
      write_file_atomically(path(), std::string_view("old content"));
      write_file_atomically(path(), std::string_view("new content"));
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      ::_exit(static_cast<int>(error.status()));
    }
    ::_exit(0);
  }

 private:
  std::optional<testing::TemporaryFolder> folder_;
};

TEST_F(Fault, AKillLeavesTheOldFileOrTheNewOne) {
  for (const char* point : {"open", "half-written", "before-sync", "before-rename"}) {
    EXPECT_EXIT(write_twice((std::string(point) + ":2").c_str()),
                ::testing::KilledBySignal(SIGKILL), "DROP_FAULT=.* is set");
    EXPECT_EQ(read_text_file(path()), "old content") << point;
  }
  EXPECT_EXIT(write_twice("after-rename:2"), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EQ(read_text_file(path()), "new content");
}

TEST_F(Fault, TheFirstVisitLeavesNoFile) {
  EXPECT_EXIT(write_twice("before-rename:1"), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(Fault, VisitsAreCounted) {
  // of any point: open, half-written, before-sync, before-rename, after-rename, and again
  EXPECT_EXIT(write_twice("any:9:kill"), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EQ(read_text_file(path()), "old content");
  // more visits than there are
  EXPECT_EXIT(write_twice("open:3"), ::testing::ExitedWithCode(0), "");
  EXPECT_EQ(read_text_file(path()), "new content");
}

TEST_F(Fault, AnErrorIsToldAndLeavesNothingBehind) {
  for (const char* point : {"open", "half-written", "before-sync", "before-rename"}) {
    EXPECT_EXIT(write_twice((std::string(point) + ":2:ENOSPC").c_str()),
                ::testing::ExitedWithCode(1), "file: .*No space left on device");
    EXPECT_EQ(read_text_file(path()), "old content") << point;
  }
  EXPECT_EXIT(write_twice("half-written:2:EIO"), ::testing::ExitedWithCode(1),
              "Input/output error");
  int names = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(path()).parent_path()))
    ++names;
  EXPECT_EQ(names, 1);
}

TEST_F(Fault, AnythingElseIsRefused) {
  for (const char* text : {"", "open", "open:", "open:0", "open:-1", "open:1x", "close:1",
                           "open:1:", "open:1:KILL", "open:1:kill:2", ":1"}) {
    EXPECT_EXIT(write_twice(text), ::testing::ExitedWithCode(2), "DROP_FAULT.*allowed: POINT:N")
        << text;
  }
}

TEST_F(Fault, NothingHappensUnasked) {
  // of this very process, which has no such variable
  ASSERT_EQ(std::getenv("DROP_FAULT"), nullptr);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(fault_at(WritePoint::kOpen));
}

}  // namespace
}  // namespace drop
