#include "drop/nn/runtime.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

namespace drop {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// at::parallel_for is a template that falls back to a plain loop where our code is compiled without
// the threads that LibTorch has
TEST(Runtime, OurLoopsRunOnAsManyThreadsAsLibTorchs) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  std::array<int, 3> threads = {-1, -1, -1};
  at::parallel_for(0, 3, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) threads[static_cast<size_t>(i)] = at::get_thread_num();
  });
  at::set_num_threads(before);
  EXPECT_EQ(threads, (std::array<int, 3>{0, 1, 2}));
}

TEST(Runtime, AllThreadsDropDenormals) {
  configure_runtime(Device::kCpu, Precision::kAuto, 0);
  EXPECT_TRUE(denormals_are_flushed());
  // as a library may, in one thread
  at::globalContext().setFlushDenormal(false);
  EXPECT_FALSE(denormals_are_flushed());
  configure_runtime(Device::kCpu, Precision::kAuto, 0);
  EXPECT_TRUE(denormals_are_flushed());
}

TEST(DriverFinding, TheDriverMustKnowTheBuildsMajorVersion) {
  EXPECT_FALSE(driver_finding(13000, 13000));
  EXPECT_FALSE(driver_finding(13020, 13000));
  EXPECT_FALSE(driver_finding(14000, 13000));
  // minor versions of one major version work together
  EXPECT_FALSE(driver_finding(13000, 13020));
  const auto old = driver_finding(12040, 13000);
  ASSERT_TRUE(old);
  EXPECT_THAT(old->what, AllOf(HasSubstr("CUDA 12.4"), HasSubstr("CUDA 13.0")));
  EXPECT_THAT(old->cure, HasSubstr("driver"));
}

TEST(DriverFinding, SomethingMayBeMissing) {
  EXPECT_THAT(driver_finding(0, 13000)->what, HasSubstr("no NVIDIA driver"));
  EXPECT_THAT(driver_finding(12080, 0)->what, HasSubstr("this build has no CUDA"));
  EXPECT_THAT(driver_finding(12080, 0)->cure, HasSubstr("setup.sh --cuda"));
  EXPECT_THAT(driver_finding(0, 0)->what, HasSubstr("no NVIDIA driver"));
}

TEST(ProductFinding, SlowProductsAreJudgedByTheCycle) {
  EXPECT_FALSE(product_finding(30e9, 2000));  // 15 in a cycle: half of a shared AVX2 core
  EXPECT_FALSE(product_finding(1e9, 0));      // nothing to judge by
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "no AVX2 here";
  const auto slow = product_finding(10e9, 2000);
  ASSERT_TRUE(slow);
  EXPECT_THAT(slow->what, HasSubstr("5.0 operations in a cycle"));
}

TEST(SettingsFindings, AHarmfulVariableIsNamedWithItsCure) {
  const auto named = [](const std::string& name) {
    const std::vector<Finding> findings = settings_findings();
    return std::count_if(findings.begin(), findings.end(), [&](const Finding& finding) {
      return finding.what.starts_with(name) && finding.cure == "unset " + name;
    });
  };
  ::setenv("MKL_CBWR", "COMPATIBLE", 1);
  EXPECT_EQ(named("MKL_CBWR"), 1);
  ::unsetenv("MKL_CBWR");
  EXPECT_EQ(named("MKL_CBWR"), 0);
  // one that harms by some values alone
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  EXPECT_EQ(named("OMP_WAIT_POLICY"), 0);
  ::setenv("OMP_WAIT_POLICY", "ACTIVE", 1);
  EXPECT_EQ(named("OMP_WAIT_POLICY"), 1);
  ::unsetenv("OMP_WAIT_POLICY");
}

}  // namespace
}  // namespace drop
