// drop_doctor: its report, and its warnings where something is made wrong

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "apps/workbench.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::expect_done;
using testing::expect_refusal;
using ::testing::HasSubstr;
using testing::ProcessOptions;
using testing::ProcessResult;

class DropDoctor : public testing::Workbench {
 protected:
  ProcessResult examine(const Arguments& more = {}, ProcessOptions options = {}) const {
    return testing::run_program(
        "drop_doctor", Arguments{"--device", "cpu", "--folder", file("."), "--quiet"} + more,
        std::move(options));
  }
};

TEST_F(DropDoctor, ReportsTheBuildTheMachineAndItsArithmetic) {
  const auto start = std::chrono::steady_clock::now();
  const ProcessResult result = examine();
  expect_done(result);
  EXPECT_EQ(result.err, "");
  for (const char* name : {"drop ", "commit ", "compiler ", "mujoco ", "cpu ", "cores ", "memory ",
                           "simd ", "core dumps ", "libtorch ", "blas ", "vector code ", "device ",
                           "threads ", "tasks ", "products "}) {
    EXPECT_THAT("\n" + result.out, HasSubstr("\n" + std::string(name)));
  }
  EXPECT_THAT(result.out, HasSubstr(": good\n"));
  // a sanitizer's build, or a busy machine, takes longer than the two seconds of a quiet one
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
  EXPECT_TRUE(testing::names_in(file(".")).empty());
}

TEST_F(DropDoctor, WarnsOfSettingsThatSlowTheLibrariesDown) {
  ProcessOptions options;
  options.environment = {"ATEN_CPU_CAPABILITY=default", "OMP_NUM_THREADS=77"};
  const ProcessResult result = examine({}, options);
  expect_done(result);
  EXPECT_THAT(result.out, HasSubstr("ATEN_CPU_CAPABILITY=default limits LibTorch's vector code; "
                                    "cure: unset ATEN_CPU_CAPABILITY\n"));
  EXPECT_THAT(result.out, HasSubstr("OMP_NUM_THREADS=77 is not looked at"));
  // every program says so when it starts
  const ProcessResult trained =
      testing::run_process(train_command(file("run"), testing::set({"train.steps=1"})), options);
  expect_done(trained);
  EXPECT_THAT(trained.err, HasSubstr("unset ATEN_CPU_CAPABILITY"));
}

TEST_F(DropDoctor, WarnsOfAFolderThatRunsCannotBeWrittenInto) {
  if (!std::filesystem::is_directory("/proc/self")) GTEST_SKIP() << "no /proc here";
  const ProcessResult result =
      testing::run_program("drop_doctor", {"--device", "cpu", "--folder", "/proc/self", "--quiet"});
  expect_done(result);
  EXPECT_THAT(result.out, HasSubstr("/proc/self: no file can be made here"));
}

TEST_F(DropDoctor, RefusesAFolderThatIsNone) {
  expect_refusal(testing::run_program("drop_doctor", {"--folder", file("nowhere")}), "drop_doctor",
                 2, {"--folder", "nowhere"});
}

}  // namespace
}  // namespace drop
