#include <gtest/gtest.h>

#include <array>

#include "env/locomotion_checks.h"
#include "support/paths.h"

namespace drop {
namespace {

const std::array<double, 9> kZeros = {};

TEST(HalfCheetah, DimensionsAndOptions) {
  const auto environment = testing::make_task("halfcheetah");
  EXPECT_EQ(environment->info().name, "halfcheetah");
  EXPECT_EQ(environment->info().state_dim, 17);
  EXPECT_EQ(environment->info().action_dim, 6);
  EXPECT_EQ(environment->info().max_episode_steps, 1000);
  EXPECT_DOUBLE_EQ(environment->info().dt, 0.05);

  const mjModel& model = environment->model();
  EXPECT_EQ(model.nq, 9);
  EXPECT_EQ(model.opt.integrator, mjINT_EULER);
  EXPECT_EQ(model.opt.timestep, 0.01);
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(model.qpos0[i], 0.0);
  const std::array<double, 6> gears = {120, 90, 60, 120, 60, 30};
  // D4RL facts, table 1.3
  const std::array<double, 12> ranges = {-0.52, 1.05, -0.785, 0.785, -0.4, 0.785,
                                         -1.0,  0.7,  -1.2,   0.87,  -0.5, 0.5};
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(model.actuator_gear[6 * i], gears[i]);
    EXPECT_EQ(model.jnt_range[2 * (i + 3)], ranges[2 * i]);
    EXPECT_EQ(model.jnt_range[2 * (i + 3) + 1], ranges[2 * i + 1]);
  }
}

TEST(HalfCheetah, BodyMassesAndInertias) {
  // torso with head, then thigh, shin and foot at the back and at the front
  const auto old = testing::make_task("halfcheetah");
  testing::expect_published(old->model(),
                            {{6.360313, {0.894454, 0.883565, 0.017618}},
                             {1.535248, {0.015256, 0.015256, 0.001624}},
                             {1.580940, {0.016608, 0.016608, 0.001673}},
                             {1.069191, {0.005444, 0.005444, 0.001131}},
                             {1.425587, {0.012319, 0.012319, 0.001508}},
                             {1.178851, {0.007163, 0.007163, 0.001247}},
                             {0.849869, {0.002900, 0.002900, 0.000899}}},
                            14.0, 6e-7);
  EXPECT_NEAR(old->model().body_ipos[3], 0.14914, 6e-6);
  EXPECT_NEAR(old->model().body_ipos[5], 0.02486, 6e-6);
  const auto modern = testing::make_task("halfcheetah", Physics::kModern);
  testing::expect_published(modern->model(),
                            {{6.25020921, {0.89711769, 0.88565545, 0.01796092}},
                             {1.54351464, {0.01684434, 0.01684434, 0.00157602}},
                             {1.58744770, {0.01826742, 0.01826742, 0.00162250}},
                             {1.09539749, {0.00635242, 0.00635242, 0.00110191}},
                             {1.43807531, {0.01373964, 0.01373964, 0.00146447}},
                             {1.20083682, {0.00822211, 0.00822211, 0.00121347}},
                             {0.88451883, {0.00352911, 0.00352911, 0.00087880}}},
                            14.0, 6e-9);
  EXPECT_NEAR(modern->model().body_ipos[3], 0.15239, 6e-6);
  EXPECT_NEAR(modern->model().body_ipos[5], 0.02540, 6e-6);
}

TEST(HalfCheetah, RewardIsSpeedMinusClippedControl) {
  const auto environment = testing::make_task("halfcheetah");
  std::array<double, 17> observation{};
  std::array<double, 9> qvel = {};
  qvel[0] = 2.0;
  environment->set_state(kZeros, qvel, observation);
  const StepResult result =
      environment->step(std::array{0.5, -4.0, 1.0, 0.0, 0.0, 2.0}, observation);
  const double speed = environment->qpos()[0] / 0.05;
  EXPECT_NEAR(result.reward, speed - 0.1 * (0.25 + 1.0 + 1.0 + 1.0), 1e-12);
  EXPECT_GT(speed, 0.5);
}

TEST(HalfCheetah, ObservationHidesXAndClipsNothing) {
  const auto environment = testing::make_task("halfcheetah");
  std::array<double, 17> observation{};
  environment->set_state(std::array{5.0, 0.1, 0.2, -0.2, -0.3, 0.4, -0.5, -0.6, 0.7},
                         std::array{1.0, -11.0, 30.0, 2.0, -10.5, 9.9, 0.0, 0.0, 11.0},
                         observation);
  EXPECT_EQ(observation, (std::array{0.1, 0.2, -0.2, -0.3, 0.4, -0.5, -0.6, 0.7, 1.0, -11.0, 30.0,
                                     2.0, -10.5, 9.9, 0.0, 0.0, 11.0}));
}

TEST(HalfCheetah, NeverEndsBeforeTheTimeLimit) {
  const auto environment = testing::make_task("halfcheetah");
  std::array<double, 17> observation{};
  std::array<double, 9> qpos = {};
  qpos[2] = 3.1;  // on its back
  environment->set_state(qpos, kZeros, observation);
  for (int t = 1; t <= 1000; ++t) {
    const StepResult result = environment->step(std::array<double, 6>{}, observation);
    ASSERT_FALSE(result.terminated) << t;
    ASSERT_EQ(result.truncated, t == 1000) << t;
  }
}

TEST(HalfCheetah, MatchesRecordedTrajectories) {
  const std::string file = testing::shared_data("fidelity_locomotion.hdf5");
  if (file.empty()) GTEST_SKIP() << "fidelity_locomotion.hdf5 is not beside the checkout";
  const auto environment = testing::make_task("halfcheetah");
  testing::expect_same_model(environment->model(), *testing::recorded_model(file, "halfcheetah"));
  for (const std::string group :
       {"halfcheetah/episode_0", "halfcheetah/episode_1", "halfcheetah/episode_2"}) {
    const auto fresh = testing::recorded_one_step_deviation(*environment, file, group);
    EXPECT_EQ(fresh.steps, 100u) << group;
    EXPECT_LE(fresh.observation, 5e-12) << group;
    EXPECT_LE(fresh.reward, 1e-12) << group;

    const auto found = testing::deviation_from(*environment, file, group, "rewards", true, false);
    EXPECT_EQ(found.steps, 1000) << group;
    EXPECT_LE(found.one_step, 5e-12) << group;
    EXPECT_LE(found.one_step_reward, 5e-12) << group;
    EXPECT_EQ(found.wrong_ends, 0) << group;
    // a difference of 1e-10 grows to 0.02 in 50 steps (facts, row 14)
    EXPECT_LE(found.within(20), 1e-9) << group;
  }
}

TEST(HalfCheetah, RandomPolicyReturn) {
  // D4RL facts, row 17 (500 episodes each; the standard error of the first is taken for both)
  const auto old = testing::random_policy_returns("halfcheetah", Physics::kD4rl, 120);
  EXPECT_TRUE(testing::agrees(old, -283.3, 3.7)) << old.mean;
  EXPECT_LT(old.standard_error(), 10.0);
  const auto modern = testing::random_policy_returns("halfcheetah", Physics::kModern, 40);
  EXPECT_TRUE(testing::agrees(modern, -286.0, 3.7)) << modern.mean;
}

}  // namespace
}  // namespace drop
