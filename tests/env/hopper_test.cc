#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "env/locomotion_checks.h"
#include "support/paths.h"

namespace drop {
namespace {

std::unique_ptr<MujocoEnvironment> make_hopper(Physics physics = Physics::kD4rl) {
  return testing::make_task("hopper", physics);
}

const std::array<double, 6> kUpright = {0.0, 1.25, 0.0, 0.0, 0.0, 0.0};
const std::array<double, 6> kStill = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
const std::array<double, 3> kNoAction = {0.0, 0.0, 0.0};

TEST(Hopper, DimensionsAndOptions) {
  const auto environment = make_hopper();
  EXPECT_EQ(environment->info().state_dim, 11);
  EXPECT_EQ(environment->info().action_dim, 3);
  EXPECT_EQ(environment->info().max_episode_steps, 1000);
  EXPECT_DOUBLE_EQ(environment->info().dt, 0.008);

  const mjModel& model = environment->model();
  EXPECT_EQ(model.nq, 6);
  EXPECT_EQ(model.nv, 6);
  EXPECT_EQ(model.nu, 3);
  EXPECT_EQ(model.opt.integrator, mjINT_RK4);
  EXPECT_EQ(model.opt.timestep, 0.002);
  EXPECT_EQ(model.opt.gravity[2], -9.81);
  EXPECT_EQ(model.opt.cone, mjCONE_PYRAMIDAL);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(model.qpos0[i], kUpright[i]);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(model.actuator_gear[6 * i], 200.0);
}

TEST(Hopper, BodyMassesAndInertias) {
  // torso, thigh, leg, foot
  testing::expect_published(make_hopper()->model(),
                            {{3.53429174, {0.06185011, 0.06185011, 0.00441786}},
                             {3.92699082, {0.08426668, 0.08426668, 0.00490874}},
                             {2.71433605, {0.06704410, 0.06704410, 0.00217147}},
                             {5.08938010, {0.09046373, 0.09046373, 0.00916088}}},
                            15.26499870, 6e-9);
  testing::expect_published(make_hopper(Physics::kModern)->model(),
                            {{3.66519143, {0.06924594, 0.06924594, 0.00445059}},
                             {4.05789051, {0.09329876, 0.09329876, 0.00494146}},
                             {2.78135670, {0.07230254, 0.07230254, 0.00218219}},
                             {5.31557477, {0.10352308, 0.10352308, 0.00924231}}},
                            15.82001341, 6e-9);
}

TEST(Hopper, RewardIsSpeedPlusBonusMinusClippedControl) {
  const auto environment = make_hopper();
  std::array<double, 11> observation{};
  environment->set_state(kUpright, std::array{0.7, 0.0, 0.0, 0.0, 0.0, 0.0}, observation);
  const double before = environment->qpos()[0];
  const StepResult result = environment->step(std::array{0.5, -4.0, 1.0}, observation);
  const double speed = (environment->qpos()[0] - before) / 0.008;
  EXPECT_NEAR(result.reward, speed + 1.0 - 1e-3 * (0.25 + 1.0 + 1.0), 1e-12);
  EXPECT_GT(speed, 0.3);
}

TEST(Hopper, ObservationHidesXAndClipsVelocities) {
  const auto environment = make_hopper();
  std::array<double, 11> observation{};
  environment->set_state(std::array{5.0, 1.3, 0.1, -0.2, -0.3, 0.4},
                         std::array{1.0, -11.0, 30.0, 2.0, -10.5, 9.9}, observation);
  EXPECT_EQ(observation,
            (std::array{1.3, 0.1, -0.2, -0.3, 0.4, 1.0, -10.0, 10.0, 2.0, -10.0, 9.9}));
  // the simulator keeps what it was given
  EXPECT_EQ(environment->qvel()[2], 30.0);
}

TEST(Hopper, EndsWhenItFalls) {
  const auto terminated_after = [](std::array<double, 6> qpos, std::array<double, 6> qvel) {
    const auto environment = make_hopper();
    std::array<double, 11> observation{};
    environment->set_state(qpos, qvel, observation);
    const StepResult result = environment->step(kNoAction, observation);
    EXPECT_FALSE(result.truncated);
    return result.terminated;
  };
  EXPECT_FALSE(terminated_after(kUpright, kStill));
  EXPECT_FALSE(terminated_after({1e6, 1.25, 0.19, 0, 0, 0}, kStill));  // x may be anything
  EXPECT_TRUE(terminated_after({0, 1.25, 0.21, 0, 0, 0}, kStill));
  EXPECT_TRUE(terminated_after({0, 1.25, -0.21, 0, 0, 0}, kStill));
  EXPECT_FALSE(terminated_after({0, 0.75, 0, -1.5, -1.5, 0}, kStill));
  EXPECT_TRUE(terminated_after({0, 0.69, 0, -1.5, -1.5, 0}, kStill));
  EXPECT_TRUE(terminated_after(kUpright, {150, 0, 0, 0, 0, 0}));  // a velocity beyond 100
}

TEST(Hopper, MatchesTheIndependentReference) {
  for (const auto& [group, physics] :
       {std::pair{"hopper", Physics::kD4rl}, std::pair{"hopper_modern", Physics::kModern}}) {
    const auto environment = make_hopper(physics);
    for (const std::string episode : {"/episode_0", "/episode_1"}) {
      const testing::Deviation found =
          testing::deviation_from(*environment, testing::fixture("env_fidelity.hdf5"),
                                  group + episode, "rewards", true, episode == "/episode_1");
      EXPECT_GE(found.steps, 50) << group << episode;
      EXPECT_LE(found.whole_trajectory, 1e-9) << group << episode;
      EXPECT_LE(found.one_step, 1e-9) << group << episode;
      EXPECT_LE(found.reward, 1e-9) << group << episode;
      EXPECT_LE(found.one_step_reward, 1e-9) << group << episode;
      EXPECT_EQ(found.wrong_ends, 0) << group << episode;
    }
  }
  // the two physics are told apart
  const testing::Deviation wrong =
      testing::deviation_from(*make_hopper(Physics::kModern), testing::fixture("env_fidelity.hdf5"),
                              "hopper/episode_0", "rewards", true, false);
  EXPECT_GT(wrong.one_step, 1e-5);
}

TEST(Hopper, MatchesRecordedTrajectories) {
  const std::string file = testing::shared_data("fidelity_locomotion.hdf5");
  if (file.empty()) GTEST_SKIP() << "fidelity_locomotion.hdf5 is not beside the checkout";
  const auto environment = make_hopper();
  testing::expect_same_model(environment->model(), *testing::recorded_model(file, "hopper"));
  for (const std::string episode : {"episode_0", "episode_1", "episode_2"}) {
    const auto fresh =
        testing::recorded_one_step_deviation(*environment, file, "hopper/" + episode);
    EXPECT_GE(fresh.steps, 4u) << episode;
    EXPECT_LE(fresh.observation, 1e-12) << episode;
    EXPECT_LE(fresh.reward, 1e-12) << episode;
    const testing::Deviation found =
        testing::deviation_from(*environment, file, "hopper/" + episode, "rewards", true, true);
    EXPECT_GE(found.steps, 34) << episode;
    EXPECT_LE(found.whole_trajectory, 1e-9) << episode;
    EXPECT_LE(found.one_step, 1e-9) << episode;
    EXPECT_LE(found.reward, 1e-9) << episode;
    EXPECT_LE(found.one_step_reward, 1e-9) << episode;
    EXPECT_EQ(found.wrong_ends, 0) << episode;
  }
}

TEST(Hopper, RandomPolicyReturn) {
  // D4RL facts, row 17 (12,000 episodes each; the standard error of the first is taken for both)
  const auto old = testing::random_policy_returns("hopper", Physics::kD4rl, 3000);
  EXPECT_TRUE(testing::agrees(old, 18.244, 0.152)) << old.mean;
  EXPECT_LT(old.standard_error(), 0.35);
  const auto modern = testing::random_policy_returns("hopper", Physics::kModern, 1000);
  EXPECT_TRUE(testing::agrees(modern, 18.441, 0.152)) << modern.mean;
}

}  // namespace
}  // namespace drop
