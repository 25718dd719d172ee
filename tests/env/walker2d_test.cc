#include <gtest/gtest.h>

#include <array>
#include <numbers>

#include "env/locomotion_checks.h"
#include "support/paths.h"

namespace drop {
namespace {

const std::array<double, 9> kUpright = {0.0, 1.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
const std::array<double, 9> kStill = {};
const std::array<double, 6> kNoAction = {};

TEST(Walker2d, DimensionsAndOptions) {
  const auto environment = testing::make_task("walker2d");
  EXPECT_EQ(environment->info().name, "walker2d");
  EXPECT_EQ(environment->info().state_dim, 17);
  EXPECT_EQ(environment->info().action_dim, 6);
  EXPECT_EQ(environment->info().max_episode_steps, 1000);
  EXPECT_DOUBLE_EQ(environment->info().dt, 0.008);

  const mjModel& model = environment->model();
  EXPECT_EQ(model.nq, 9);
  EXPECT_EQ(model.opt.integrator, mjINT_RK4);
  EXPECT_EQ(model.opt.timestep, 0.002);
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(model.qpos0[i], kUpright[i]);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(model.actuator_gear[6 * i], 100.0);
  const double degree = std::numbers::pi / 180.0;
  for (size_t joint = 3; joint < 9; ++joint) {
    const bool is_foot = joint % 3 == 2;
    EXPECT_NEAR(model.jnt_range[2 * joint], (is_foot ? -45.0 : -150.0) * degree, 1e-15);
    EXPECT_NEAR(model.jnt_range[2 * joint + 1], (is_foot ? 45.0 : 0.0) * degree, 1e-15);
  }
  // D4RL facts, table 1.5: the right foot slides more easily than the left one
  const auto friction = [&](const char* name) {
    return model.geom_friction[3 * mj_name2id(&model, mjOBJ_GEOM, name)];
  };
  EXPECT_EQ(friction("foot_geom"), 0.9);
  EXPECT_EQ(friction("foot_left_geom"), 1.9);
}

TEST(Walker2d, BodyMassesAndInertias) {
  // torso; thigh, leg, foot of both sides
  const auto both_legs = [](testing::PublishedBody torso, testing::PublishedBody thigh,
                            testing::PublishedBody leg, testing::PublishedBody foot) {
    return std::vector<testing::PublishedBody>{torso, thigh, leg, foot, thigh, leg, foot};
  };
  testing::expect_published(testing::make_task("walker2d")->model(),
                            both_legs({3.53429174, {0.06185011, 0.06185011, 0.00441786}},
                                      {3.92699082, {0.08426668, 0.08426668, 0.00490874}},
                                      {2.71433605, {0.06704410, 0.06704410, 0.00217147}},
                                      {2.94053072, {0.01921147, 0.01921147, 0.00529296}}),
                            22.69800692, 6e-9);
  testing::expect_published(testing::make_task("walker2d", Physics::kModern)->model(),
                            both_legs({3.66519143, {0.06924594, 0.06924594, 0.00445059}},
                                      {4.05789051, {0.09329876, 0.09329876, 0.00494146}},
                                      {2.78135670, {0.07230254, 0.07230254, 0.00218219}},
                                      {3.16672539, {0.02399775, 0.02399775, 0.00537439}}),
                            23.67713663, 6e-9);
}

TEST(Walker2d, RewardIsSpeedPlusBonusMinusClippedControl) {
  const auto environment = testing::make_task("walker2d");
  std::array<double, 17> observation{};
  std::array<double, 9> qvel = {};
  qvel[0] = 0.7;
  environment->set_state(kUpright, qvel, observation);
  const StepResult result =
      environment->step(std::array{0.5, -4.0, 1.0, 0.0, 0.0, 2.0}, observation);
  const double speed = environment->qpos()[0] / 0.008;
  EXPECT_NEAR(result.reward, speed + 1.0 - 1e-3 * (0.25 + 1.0 + 1.0 + 1.0), 1e-12);
  EXPECT_GT(speed, 0.3);
}

TEST(Walker2d, ObservationHidesXAndClipsVelocities) {
  const auto environment = testing::make_task("walker2d");
  std::array<double, 17> observation{};
  environment->set_state(std::array{5.0, 1.3, 0.1, -0.2, -0.3, 0.4, -0.5, -0.6, 0.7},
                         std::array{1.0, -11.0, 30.0, 2.0, -10.5, 9.9, 0.0, 0.0, 11.0},
                         observation);
  EXPECT_EQ(observation, (std::array{1.3, 0.1, -0.2, -0.3, 0.4, -0.5, -0.6, 0.7, 1.0, -10.0, 10.0,
                                     2.0, -10.0, 9.9, 0.0, 0.0, 10.0}));
}

TEST(Walker2d, EndsWhenItFalls) {
  // the legs are folded, so that nothing touches the floor
  const auto terminated_after = [](double x, double z, double pitch) {
    const auto environment = testing::make_task("walker2d");
    std::array<double, 17> observation{};
    environment->set_state(std::array{x, z, pitch, -2.0, -2.0, 0.0, -2.0, -2.0, 0.0}, kStill,
                           observation);
    const StepResult result = environment->step(kNoAction, observation);
    EXPECT_FALSE(result.truncated);
    return result.terminated;
  };
  EXPECT_FALSE(terminated_after(0.0, 1.25, 0.0));
  EXPECT_FALSE(terminated_after(1e6, 1.25, 0.0));
  EXPECT_FALSE(terminated_after(0.0, 1.98, 0.98));
  EXPECT_FALSE(terminated_after(0.0, 0.82, -0.98));
  EXPECT_TRUE(terminated_after(0.0, 1.25, 1.02));
  EXPECT_TRUE(terminated_after(0.0, 1.25, -1.02));
  EXPECT_TRUE(terminated_after(0.0, 2.02, 0.0));
  EXPECT_TRUE(terminated_after(0.0, 0.79, 0.0));
}

TEST(Walker2d, MatchesRecordedTrajectories) {
  const std::string file = testing::shared_data("fidelity_locomotion.hdf5");
  if (file.empty()) GTEST_SKIP() << "fidelity_locomotion.hdf5 is not beside the checkout";
  const auto environment = testing::make_task("walker2d");
  testing::expect_same_model(environment->model(), *testing::recorded_model(file, "walker2d"));
  for (const std::string group :
       {"walker2d/episode_0", "walker2d/episode_1", "walker2d/episode_2"}) {
    const auto fresh = testing::recorded_one_step_deviation(*environment, file, group);
    EXPECT_GE(fresh.steps, 3u) << group;
    EXPECT_LE(fresh.observation, 1e-12) << group;
    EXPECT_LE(fresh.reward, 1e-12) << group;

    // every step from the running trajectory's states. In one of 1379 the solver stops 9e-8 away
    // from where it stopped in the recording, as it does with the file's own model: the recording
    // went on from the accelerations of the step before, a fresh state has none
    const auto found = testing::deviation_from(*environment, file, group, "rewards", true, true);
    EXPECT_GE(found.steps, 21) << group;
    EXPECT_LE(found.one_step_beyond_1e9, group == "walker2d/episode_1" ? 1 : 0) << group;
    EXPECT_LE(found.one_step, group == "walker2d/episode_1" ? 2e-7 : 1e-12) << group;
    EXPECT_LE(found.one_step_reward, group == "walker2d/episode_1" ? 1e-8 : 1e-12) << group;
    EXPECT_EQ(found.wrong_ends, 0) << group;
    // a difference of 1e-10 grows to 1e-6 in 200 steps, then to 0.1 in 500 (facts, row 14)
    EXPECT_LE(found.within(200), 1e-9) << group;
  }
}

TEST(Walker2d, RandomPolicyReturn) {
  // D4RL facts, row 17 (12,000 episodes each; the standard error of the first is taken for both)
  constexpr double kOld = 1.974;
  constexpr double kModern = 2.706;
  constexpr double kStandardError = 0.054;
  const auto old = testing::random_policy_returns("walker2d", Physics::kD4rl, 2000);
  EXPECT_TRUE(testing::agrees(old, kOld, kStandardError)) << old.mean;
  EXPECT_FALSE(testing::agrees(old, kModern, kStandardError)) << old.mean;
  const auto modern = testing::random_policy_returns("walker2d", Physics::kModern, 1000);
  EXPECT_TRUE(testing::agrees(modern, kModern, kStandardError)) << modern.mean;
}

}  // namespace
}  // namespace drop
