#include "log/append_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "support/paths.h"

namespace drop {
namespace {

TEST(AppendFile, WritesAtTheEndWhenFlushed) {
  testing::TemporaryFolder folder;
  const std::string path = folder.file("f");
  write_file_atomically(path, std::string_view("old "));
  AppendFile file(path);
  file.append("new");
  EXPECT_EQ(read_text_file(path), "old ") << "collected, not yet written";
  file.flush();
  EXPECT_EQ(read_text_file(path), "old new");
  file.flush();
  EXPECT_EQ(read_text_file(path), "old new");
}

TEST(AppendFile, WritesByItselfWhenThereIsMuchAndAtTheEnd) {
  testing::TemporaryFolder folder;
  const std::string path = folder.file("f");
  {
    AppendFile file(path);
    for (int i = 0; i < 100; ++i) file.append(std::string(1000, 'x'));
    EXPECT_GT(std::filesystem::file_size(path), 0u);
    EXPECT_LT(std::filesystem::file_size(path), 100000u);
  }
  EXPECT_EQ(std::filesystem::file_size(path), 100000u);
}

TEST(AppendFile, SaysWhyItCannotBeWritten) {
  testing::TemporaryFolder folder;
  try {
    AppendFile file(folder.path() / "missing" / "f");
    FAIL();
  } catch (const RunError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("missing/f: cannot be written (No such file"));
  }
}

TEST(AppendFile, AFullDiskIsAnErrorOnFlushAndNoneInTheDestructor) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "there is no /dev/full here";
  ::testing::internal::CaptureStderr();
  {
    AppendFile file("/dev/full");
    file.append("x");
    EXPECT_THROW(file.flush(), RunError);
  }
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              ::testing::HasSubstr("/dev/full: writing failed (No space left on device)"));
}

}  // namespace
}  // namespace drop
