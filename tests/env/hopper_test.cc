#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "drop/env/environment.h"
#include "env/fidelity.h"
#include "env/mujoco_environment.h"
#include "support/paths.h"

namespace drop {
namespace {

std::unique_ptr<Environment> make_hopper(Physics physics = Physics::kD4rl) {
  EnvironmentOptions options;
  options.physics = physics;
  return EnvironmentRegistry::instance().make("hopper", options);
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

  const mjModel& model = dynamic_cast<const MujocoEnvironment&>(*environment).model();
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
  // D4RL facts, table 1.7: torso, thigh, leg, foot (mass, two transverse and the axial moment)
  struct Published {
    double mass, transverse, axial;
  };
  const std::array<Published, 4> old_engine = {{{3.53429174, 0.06185011, 0.00441786},
                                                {3.92699082, 0.08426668, 0.00490874},
                                                {2.71433605, 0.06704410, 0.00217147},
                                                {5.08938010, 0.09046373, 0.00916088}}};
  const std::array<Published, 4> new_engine = {{{3.66519143, 0.06924594, 0.00445059},
                                                {4.05789051, 0.09329876, 0.00494146},
                                                {2.78135670, 0.07230254, 0.00218219},
                                                {5.31557477, 0.10352308, 0.00924231}}};
  for (const Physics physics : {Physics::kD4rl, Physics::kModern}) {
    const auto environment = make_hopper(physics);
    const mjModel& model = dynamic_cast<const MujocoEnvironment&>(*environment).model();
    const auto& published = physics == Physics::kD4rl ? old_engine : new_engine;
    double total = 0.0;
    ASSERT_EQ(model.nbody, 5);
    for (size_t body = 0; body < 4; ++body) {
      const mjtNum* inertia = model.body_inertia + 3 * (body + 1);
      std::array<double, 3> sorted = {inertia[0], inertia[1], inertia[2]};
      std::sort(sorted.begin(), sorted.end());
      EXPECT_NEAR(model.body_mass[body + 1], published[body].mass, 6e-9);
      EXPECT_NEAR(sorted[0], published[body].axial, 6e-9);
      EXPECT_NEAR(sorted[1], published[body].transverse, 6e-9);
      EXPECT_NEAR(sorted[2], published[body].transverse, 6e-9);
      total += model.body_mass[body + 1];
    }
    EXPECT_NEAR(total, physics == Physics::kD4rl ? 15.26499870 : 15.82001341, 1e-8);
  }
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
  for (const std::string episode : {"episode_0", "episode_1", "episode_2"}) {
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
  const auto environment = make_hopper();
  RandomStream starts(0, "env");
  RandomStream actions(0, "actions");
  const testing::ReturnStatistics found = testing::return_statistics(
      *environment, starts, 1500, [&](std::span<const double>, std::span<double> action) {
        for (double& a : action) a = actions.uniform(-1.0, 1.0);
      });
  // D4RL facts, row 17: 18.244 +- 0.152 (standard error)
  EXPECT_NEAR(found.mean, 18.244, 3.0 * std::hypot(found.standard_error(), 0.152));
  EXPECT_LT(found.standard_error(), 0.6);
}

}  // namespace
}  // namespace drop
