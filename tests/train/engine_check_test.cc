#include "drop/train/engine_check.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/dense_backend.h"
#include "support/models.h"
#include "train/made_data.h"

namespace drop {
namespace {

TEST(EngineCheck, EveryEngineOfThisMachineAgreesWithTheReference) {
  Config config;
  config.train.target_rate = 0.05;
  config.search.ascent_steps = 30;
  config.search.ascent_step_size = 0.1;
  const auto sampler = testing::made_sampler(32);
  ModelShape shape = testing::made_shape();
  shape.hidden_width = 32;
  const at::Tensor states = testing::uniform({4, shape.state_dim}, 1).to(at::kFloat);
  const std::vector<EngineCheck> checks =
      check_engines(shape, config, /*reward_scale=*/0.1, *sampler, states, at::kCPU, /*steps=*/100);
  ASSERT_EQ(checks.size(), cpu_has_bf16() ? 4u : 2u);
  for (const EngineCheck& check : checks) {
    EXPECT_TRUE(check.passed()) << format_engine_checks(checks);
    EXPECT_GT(check.way_bound, 0.0);
    EXPECT_EQ(check.gradient_bound > 0.0, check.engine == "step fused");
  }
  EXPECT_EQ(checks.front().engine, "step fused");
  EXPECT_EQ(checks.back().engine, "ascent cpu");
}

TEST(EngineCheck, FailsWithWhatIsTooFarOrNotANumber) {
  EngineCheck check;
  check.gradient_bound = check.value_bound = check.way_bound = 0.5;
  check.value_deviation = check.way_deviation = 0.5;
  EXPECT_TRUE(check.passed());
  check.value_deviation = 0.6;
  EXPECT_FALSE(check.passed());
  check.value_deviation = 0.1;
  check.gradient_deviation = 0.6;
  EXPECT_FALSE(check.passed());
  check.gradient_deviation = 0.1;
  check.way_deviation = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(check.passed());
  EXPECT_NE(format_engine_checks({check}).find("FAILED"), std::string::npos);
}

}  // namespace
}  // namespace drop
