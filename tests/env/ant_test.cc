#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <utility>

#include "drop/env/environment.h"
#include "env/fidelity.h"
#include "env/mujoco_environment.h"
#include "support/paths.h"

namespace drop {
namespace {

std::unique_ptr<Environment> make_ant(Physics physics = Physics::kD4rl) {
  EnvironmentOptions options;
  options.physics = physics;
  return EnvironmentRegistry::instance().make("ant", options);
}

// legs drawn in, standing
const std::array<double, 15> kStanding = {0, 0, 0.6, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1};
const std::array<double, 14> kStill = {};
const std::array<double, 8> kNoAction = {};

TEST(Ant, DimensionsAndOptions) {
  const auto environment = make_ant();
  EXPECT_EQ(environment->info().state_dim, 111);
  EXPECT_EQ(environment->info().action_dim, 8);
  EXPECT_EQ(environment->info().max_episode_steps, 1000);
  EXPECT_DOUBLE_EQ(environment->info().dt, 0.05);
  EXPECT_TRUE(environment->info().variables.empty());
  const mjModel& model = dynamic_cast<const MujocoEnvironment&>(*environment).model();
  EXPECT_EQ(model.actuator_gear[0], 150.0);
  EXPECT_NEAR(model.body_mass[2], 0.03647693, 6e-9);
}

TEST(Ant, ObservationHidesXAndYAndHoldsNoContactForces) {
  const auto environment = make_ant();
  std::array<double, 111> observation{};
  observation.fill(7.0);
  std::array<double, 15> qpos = kStanding;
  qpos[0] = 5.0;
  qpos[1] = -3.0;
  std::array<double, 14> qvel{};
  for (size_t i = 0; i < 14; ++i) qvel[i] = 20.0 + static_cast<double>(i);
  environment->set_state(qpos, qvel, observation);
  for (size_t i = 0; i < 13; ++i) EXPECT_EQ(observation[i], qpos[i + 2]);
  for (size_t i = 0; i < 14; ++i) EXPECT_EQ(observation[13 + i], qvel[i]);  // not clipped
  for (size_t i = 27; i < 111; ++i) EXPECT_EQ(observation[i], 0.0) << i;

  // zero also where feet press on the floor
  environment->set_state(kStanding, kStill, observation);
  for (int t = 0; t < 20; ++t) environment->step(kNoAction, observation);
  EXPECT_GT(observation[0], 0.3);
  for (size_t i = 27; i < 111; ++i) EXPECT_EQ(observation[i], 0.0) << i;
}

TEST(Ant, RewardIsSpeedPlusBonusMinusClippedControl) {
  const auto environment = make_ant();
  std::array<double, 111> observation{};
  std::array<double, 15> aloft = kStanding;
  aloft[2] = 0.9;
  std::array<double, 14> qvel{};
  qvel[0] = 0.7;
  environment->set_state(aloft, qvel, observation);
  const double before = environment->qpos()[0];
  const StepResult result =
      environment->step(std::array{0.5, -4.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0}, observation);
  const double speed = (environment->qpos()[0] - before) / 0.05;
  // the torso's x lags qpos[0] a little
  EXPECT_NEAR(result.reward, speed + 1.0 - 0.5 * (0.25 + 1.0 + 1.0), 1e-2);
  EXPECT_GT(std::abs(speed), 0.3);
}

TEST(Ant, EndsWhenItFallsOrIsThrownUp) {
  const auto terminated_after = [](double height, double lift, bool on_its_back = false) {
    const auto environment = make_ant();
    std::array<double, 111> observation{};
    std::array<double, 15> qpos = kStanding;
    qpos[2] = height;
    if (on_its_back) std::swap(qpos[3], qpos[4]);
    std::array<double, 14> qvel{};
    qvel[2] = lift;
    environment->set_state(qpos, qvel, observation);
    const StepResult result = environment->step(kNoAction, observation);
    EXPECT_FALSE(result.truncated);
    EXPECT_EQ(result.terminated, observation[0] < 0.2 || observation[0] > 1.0) << observation[0];
    return result.terminated;
  };
  EXPECT_FALSE(terminated_after(0.6, 0.0));
  EXPECT_FALSE(terminated_after(0.99, 0.0));
  // falls by 12 mm within the step: to both sides of the limit
  EXPECT_FALSE(terminated_after(1.011, 0.0));
  EXPECT_TRUE(terminated_after(1.013, 0.0));
  EXPECT_TRUE(terminated_after(0.98, 1.0));
  EXPECT_FALSE(terminated_after(0.3, 0.0, true));  // flipped is no end
  EXPECT_TRUE(terminated_after(0.15, -20.0, true));
}

TEST(Ant, MatchesTheIndependentReferences) {
  const std::string file = testing::fixture("env_ant.hdf5");
  struct Episode {
    std::string group;
    Physics physics;
    bool terminates;
  };
  for (const Episode& e : {Episode{"ant/episode_0", Physics::kD4rl, false},
                           Episode{"ant_modern/episode_0", Physics::kModern, false},
                           Episode{"ant_modern/episode_1", Physics::kModern, true}}) {
    const auto environment = make_ant(e.physics);
    const testing::Deviation found =
        testing::deviation_from(*environment, file, e.group, "rewards", true, e.terminates);
    EXPECT_GE(found.steps, e.terminates ? 2 : 50) << e.group;
    EXPECT_LE(found.whole_trajectory, 1e-9) << e.group;
    EXPECT_LE(found.one_step, 1e-9) << e.group;
    EXPECT_LE(found.reward, 1e-9) << e.group;
    EXPECT_EQ(found.wrong_ends, 0) << e.group;

    // rewards of single steps from fresh states, where the torso's x does not lag at first
    const auto read = [&](const std::string& name) {
      return read_hdf5_array(file, e.group + "/" + name).values;
    };
    const std::vector<double> qpos = read("qpos");
    const std::vector<double> qvel = read("qvel");
    const std::vector<double> actions = read("actions");
    const std::vector<double> rewards = read("one_step_rewards");
    ASSERT_EQ(rewards.size(), static_cast<size_t>(found.steps));
    std::array<double, 111> observation{};
    for (size_t t = 0; t < rewards.size(); ++t) {
      environment->set_state(std::span(qpos).subspan(15 * t, 15),
                             std::span(qvel).subspan(14 * t, 14), observation);
      const StepResult result =
          environment->step(std::span(actions).subspan(8 * t, 8), observation);
      EXPECT_NEAR(result.reward, rewards[t], 1e-9) << e.group << " " << t;
    }
  }
  // the two physics are told apart
  const testing::Deviation wrong = testing::deviation_from(*make_ant(Physics::kModern), file,
                                                           "ant/episode_0", "rewards", true, false);
  EXPECT_GT(wrong.one_step, 1e-5);
}

}  // namespace
}  // namespace drop
