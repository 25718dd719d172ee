#include "drop/kernels/benchmark.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "drop/base/timing.h"
#include "kernels/peak.h"

namespace drop {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;

void sleep_ms(int64_t count) { std::this_thread::sleep_for(std::chrono::milliseconds(count)); }

TEST(Timing, MedianOfOddAndEvenCounts) {
  EXPECT_EQ(median({3.0}), 3.0);
  EXPECT_EQ(median({9.0, 1.0, 2.0}), 2.0);
  EXPECT_EQ(median({4.0, 1.0, 2.0, 100.0}), 3.0);
}

TEST(Measure, AsManyStepsAsAskedFor) {
  std::vector<int64_t> calls;
  const BenchmarkPlan plan = {.repetitions = 3, .steps = 5, .peak = false};
  const BenchmarkTimes times =
      measure(plan, at::kCPU, Precision::kFp32, [&](int64_t count) { calls.push_back(count); });
  EXPECT_THAT(calls, ElementsAre(1, 5, 5, 5));
  EXPECT_EQ(times.steps, 5);
  EXPECT_EQ(times.seconds.size(), 3u);
  EXPECT_EQ(times.peak_flops_per_s, 0.0);
}

TEST(Measure, AsManyStepsAsFillARepetition) {
  const BenchmarkPlan plan = {.repetitions = 2, .repetition_s = 0.1, .peak = false};
  const BenchmarkTimes times = measure(plan, at::kCPU, Precision::kFp32, sleep_ms);
  EXPECT_GE(times.steps, 10);  // a sleep may take longer than asked for, never shorter
  EXPECT_LE(times.steps, 100);
  EXPECT_THAT(times.seconds, Each(Ge(1e-3)));
}

TEST(Measure, OneStepMayTakeLongerThanARepetition) {
  const BenchmarkPlan plan = {.repetitions = 1, .repetition_s = 1e-3, .peak = false};
  EXPECT_EQ(measure(plan, at::kCPU, Precision::kFp32, [](int64_t) { sleep_ms(5); }).steps, 1);
}

TEST(Measure, ThePeakIsMeasuredInTheSameRun) {
  const BenchmarkPlan plan = {.repetitions = 1, .steps = 1};
  const BenchmarkTimes times = measure(plan, at::kCPU, Precision::kFp32, [](int64_t) {});
  // any processor of this century, and none of this decade's
  EXPECT_GT(times.peak_flops_per_s, 1e8);
  EXPECT_LT(times.peak_flops_per_s, 1e15);
}

TEST(Peak, InBfloat16) {
  const double peak = peak_flops(at::kCPU, Precision::kBf16);
  EXPECT_GT(peak, 1e8);
  EXPECT_LT(peak, 1e16);
}

}  // namespace
}  // namespace drop
