#include "drop/nn/self_check.h"

#include <gtest/gtest.h>

namespace drop {
namespace {

TEST(SelfCheck, PassesHereWithRoomToSpare) {
  const SelfCheck check = run_self_check(at::kCPU);
  EXPECT_TRUE(check.passed);
  EXPECT_LT(check.forward, 3e-6);
  EXPECT_GT(check.forward,
            0.0);  // float32 cannot equal float64: zero would mean nothing was compared
  EXPECT_LT(check.gradient, 1e-7);
}

}  // namespace
}  // namespace drop
