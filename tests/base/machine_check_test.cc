#include "drop/base/machine_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "drop/base/files.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// control groups in a folder of the test's own
class ControlGroupTest : public ::testing::Test {
 protected:
  void belong_to(const std::string& lines) { write("membership", lines); }
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((folder_.path() / name).parent_path());
    std::ofstream(folder_.path() / name) << text;
  }
  ControlGroups groups() const { return {folder_.path() / "root", folder_.path() / "membership"}; }

 private:
  testing::TemporaryFolder folder_;
};

TEST_F(ControlGroupTest, WithoutGroupsThereIsNoLimit) {
  EXPECT_TRUE(std::isinf(cpu_quota(groups())));
  EXPECT_TRUE(std::isinf(memory_limit(groups())));
  belong_to("0::/a/b\nnonsense\n");
  EXPECT_TRUE(std::isinf(cpu_quota(groups())));
}

TEST_F(ControlGroupTest, TheTightestGroupOfVersion2Counts) {
  belong_to("0::/job/step\n");
  write("root/job/step/cpu.max", "max 100000\n");
  write("root/job/step/memory.max", "max\n");
  EXPECT_TRUE(std::isinf(cpu_quota(groups())));
  EXPECT_TRUE(std::isinf(memory_limit(groups())));
  write("root/job/cpu.max", "150000 100000\n");
  write("root/job/memory.max", "1073741824\n");
  EXPECT_DOUBLE_EQ(cpu_quota(groups()), 1.5);
  EXPECT_DOUBLE_EQ(memory_limit(groups()), 0x1p30);
  // inside a container only the root is seen
  belong_to("0::/somewhere/else\n");
  EXPECT_TRUE(std::isinf(cpu_quota(groups())));
  write("root/cpu.max", "400000 100000\n");
  EXPECT_DOUBLE_EQ(cpu_quota(groups()), 4.0);
}

TEST_F(ControlGroupTest, Version1HasAGroupForEachController) {
  belong_to("9:name=systemd:/\n4:memory:/job\n2:cpu,cpuacct:/job\n");
  write("root/cpu/job/cpu.cfs_quota_us", "-1\n");
  write("root/cpu/job/cpu.cfs_period_us", "100000\n");
  write("root/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_TRUE(std::isinf(cpu_quota(groups())));
  EXPECT_TRUE(std::isinf(memory_limit(groups())));
  write("root/cpu/job/cpu.cfs_quota_us", "250000\n");
  write("root/memory/job/memory.limit_in_bytes", "4096\n");
  EXPECT_DOUBLE_EQ(cpu_quota(groups()), 2.5);
  EXPECT_DOUBLE_EQ(memory_limit(groups()), 4096.0);
}

TEST(MachineCheck, SomeMemoryIsFree) {
  EXPECT_GT(free_memory(), 0.0);
  EXPECT_TRUE(std::isfinite(free_memory()));
}

TEST(MachineCheck, ABusyMachineIsTold) {
  EXPECT_FALSE(load_finding(4.0, 4));
  const auto busy = load_finding(4.1, 4);
  ASSERT_TRUE(busy);
  EXPECT_EQ(busy->what, "4.1 threads want to run on this machine's 4 cores");
  EXPECT_THAT(busy->cure, HasSubstr("set threads"));
}

TEST(MachineCheck, MoreThreadsThanTheGroupHasTimeForAreTold) {
  EXPECT_FALSE(threads_finding(64, std::numeric_limits<double>::infinity()));
  EXPECT_FALSE(threads_finding(2, 1.5));  // what `threads: 0` takes
  const auto many = threads_finding(16, 2.0);
  ASSERT_TRUE(many);
  EXPECT_EQ(many->what, "16 threads share the time of 2.0 cores (cgroup quota)");
  EXPECT_THAT(many->cure, HasSubstr("threads: 0"));
}

TEST(FolderFindings, AProbeFollowsNoLink) {
  const testing::TemporaryFolder folder;
  const std::string mine = folder.file("mine.txt");
  write_file_atomically(mine, "mine");
  std::filesystem::create_directory(folder.path() / "shared");
  std::filesystem::create_symlink(
      mine, folder.path() / "shared" / (".drop_probe_a." + std::to_string(::getpid())));
  folder_findings(folder.path() / "shared");
  EXPECT_EQ(read_text_file(mine), "mine");
}

TEST(MachineCheck, LittleMemoryIsTold) {
  EXPECT_FALSE(memory_finding(0x1p31));
  const auto little = memory_finding(0x1p30);
  ASSERT_TRUE(little);
  EXPECT_EQ(little->what, "only 1.0 GiB of memory are free");
  EXPECT_FALSE(little->cure.empty());
  EXPECT_THAT(memory_finding(-1.0)->what, HasSubstr("only 0"));
}

TEST(FolderFindings, AnOrdinaryFolderIsFineAndStaysEmpty) {
  const testing::TemporaryFolder folder;
  for (const Finding& finding : folder_findings(folder.path()))
    EXPECT_THAT(finding.what, HasSubstr("are free on this disk"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(FolderFindings, AFolderThatCannotBeWrittenIsSaid) {
  const testing::TemporaryFolder folder;
  const auto missing = folder_findings(folder.path() / "missing");
  ASSERT_THAT(missing, SizeIs(1));
  EXPECT_THAT(missing[0].what, HasSubstr("no file can be made here"));
  EXPECT_THAT(missing[0].cure, HasSubstr("--out"));
  if (::geteuid() == 0) GTEST_SKIP() << "root writes anywhere";
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_read);
  EXPECT_THAT(folder_findings(folder.path()), SizeIs(1));
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
}

}  // namespace
}  // namespace drop
