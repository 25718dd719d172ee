#include <gtest/gtest.h>

#include "env/locomotion_checks.h"
#include "support/paths.h"

namespace drop {
namespace {

// `physics: modern` against gymnasium's v4 tasks (tests/fixtures/make_modern_fixtures.py)
TEST(ModernPhysics, RepeatsGymnasium) {
  const std::string file = testing::fixture("env_modern.hdf5");
  for (const std::string task : {"hopper", "halfcheetah", "walker2d"}) {
    const bool is_cheetah = task == "halfcheetah";
    const auto environment = testing::make_task(task, Physics::kModern);
    for (const std::string episode : {"/episode_0", "/episode_1"}) {
      const testing::Deviation found =
          testing::deviation_from(*environment, file, task + episode, "rewards", true, !is_cheetah);
      EXPECT_GE(found.steps, 26) << task << episode;
      EXPECT_EQ(found.wrong_ends, 0) << task << episode;
      EXPECT_LE(found.one_step, 1e-12) << task << episode;
      EXPECT_LE(found.one_step_reward, 1e-12) << task << episode;
      // the whole way where it is not chaotic (D4RL facts, row 14)
      EXPECT_LE(found.within(is_cheetah ? 20 : 80), 1e-9) << task << episode;
    }
    // the record tells the two physics apart
    const testing::Deviation old = testing::deviation_from(
        *testing::make_task(task), file, task + "/episode_0", "rewards", true, !is_cheetah);
    EXPECT_GT(old.one_step, 1e-4) << task;
  }
}

}  // namespace
}  // namespace drop
