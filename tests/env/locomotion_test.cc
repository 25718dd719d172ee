#include "env/locomotion.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numbers>

#include "env/locomotion_checks.h"

namespace drop {
namespace {

TEST(OldCapsuleInertia, MatchesPublishedFigures) {
  struct Published {
    double radius, half_length, mass, transverse, axial;
  };
  // D4RL facts, table 1.7: hopper's torso, thigh, leg, foot; walker2d's foot
  for (const Published& p : {Published{0.05, 0.2, 3.53429174, 0.06185011, 0.00441786},
                             Published{0.05, 0.225, 3.92699082, 0.08426668, 0.00490874},
                             Published{0.04, 0.25, 2.71433605, 0.06704410, 0.00217147},
                             Published{0.06, 0.195, 5.08938010, 0.09046373, 0.00916088},
                             Published{0.06, 0.1, 2.94053072, 0.01921147, 0.00529296}}) {
    const CapsuleInertia inertia = old_capsule_inertia(p.radius, p.half_length);
    EXPECT_NEAR(inertia.mass, p.mass, 6e-9);
    EXPECT_NEAR(inertia.transverse, p.transverse, 6e-9);
    EXPECT_NEAR(inertia.axial, p.axial, 6e-9);
  }
  // ant's legs have density 5
  EXPECT_NEAR(old_capsule_inertia(0.08, std::sqrt(0.02), 5.0).mass, 0.03647693, 6e-9);
}

TEST(MjcfNumber, ReadsBackExactly) {
  for (const double value : {0.1, 1.0 / 3.0, 2.7143360527015816, -1e-300, 0.0}) {
    EXPECT_EQ(std::stod(mjcf_number(value)), value);
  }
}

MujocoModel body_of(const std::vector<Capsule>& capsules, Physics physics, double density) {
  return compile_mjcf("<mujoco><worldbody><body>" +
                          capsule_elements("c", capsules, physics, density) +
                          "</body></worldbody></mujoco>",
                      "capsules");
}

TEST(CapsuleElements, LieAlongTheirAxis) {
  for (const double angle : {0.0, 0.3, -0.5 * std::numbers::pi, 2.5}) {
    for (const Physics physics : {Physics::kD4rl, Physics::kModern}) {
      const bool old = physics == Physics::kD4rl;
      const Turn turn = angle < -1.0 ? kAlongX : turn_about_y(angle);
      const MujocoModel model = body_of({{0.05, 0.2, {1, 2, 3}, turn, 0.7}}, physics, 1000.0);
      const std::array<double, 9> found = testing::inertia_matrix(*model, 1);
      const double axial = old ? 0.00441786 : 0.00445059;
      const double transverse = old ? 0.06185011 : 0.06924594;
      const std::array<double, 3> axis = {std::sin(angle), 0.0, std::cos(angle)};
      for (size_t i = 0; i < 9; ++i) {
        const double expected =
            (axial - transverse) * axis[i / 3] * axis[i % 3] + (i % 4 == 0 ? transverse : 0.0);
        EXPECT_NEAR(found[i], expected, 1.2e-8) << angle << " entry " << i;
      }
      EXPECT_NEAR(model->body_mass[1], old ? 3.53429174 : 3.66519143, 6e-9);
      for (size_t i = 0; i < 3; ++i) EXPECT_EQ(model->body_ipos[3 + i], 1.0 + i);
      EXPECT_EQ(model->geom_friction[0], 0.7);
      EXPECT_EQ(model->geom_size[1], 0.2);
    }
  }
}

TEST(CapsuleElements, SeveralAreOneBody) {
  // a symmetric pair at x = 1 -+ 0.5, of half the density
  const std::vector<Capsule> pair = {{0.05, 0.2, {0.5, 0, 2}, {}, 1.0},
                                     {0.05, 0.2, {1.5, 0, 2}, {}, 1.0}};
  const MujocoModel model = body_of(pair, Physics::kD4rl, 500.0);
  EXPECT_NEAR(model->body_mass[1], 3.53429174, 6e-9);
  EXPECT_NEAR(model->body_ipos[3], 1.0, 1e-15);
  EXPECT_NEAR(model->body_ipos[5], 2.0, 1e-15);
  const std::array<double, 9> found = testing::inertia_matrix(*model, 1);
  EXPECT_NEAR(found[0], 0.06185011, 1e-8);
  EXPECT_NEAR(found[4], 0.06185011 + 3.53429174 * 0.25, 1e-8);
  EXPECT_NEAR(found[8], 0.00441786 + 3.53429174 * 0.25, 1e-8);
  EXPECT_EQ(model->ngeom, 2);

  // the two rules hardly differ for long thin capsules, so MuJoCo's own sum over geoms checks ours
  const std::vector<Capsule> skew = {{0.01, 5.0, {0.1, 0.2, 0.3}, turn_about_y(0.4), 1.0},
                                     {0.01, 4.0, {-0.5, 0.6, 0.0}, turn_about_y(-1.0), 1.0}};
  const std::array<double, 9> ours =
      testing::inertia_matrix(*body_of(skew, Physics::kD4rl, 1000.0), 1);
  const std::array<double, 9> theirs =
      testing::inertia_matrix(*body_of(skew, Physics::kModern, 1000.0), 1);
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_NEAR(ours[i], theirs[i], 2e-3 * std::abs(theirs[i])) << i;
    EXPECT_GT(std::abs(theirs[i]), 0.1) << i;
  }
}

// a cart on two rails: closed forms for everything that the base class adds
LocomotionTask cart_task() {
  LocomotionTask task;
  task.name = "cart";
  task.mjcf = R"(<mujoco><option gravity="0 0 0" timestep="0.01"/>
    <worldbody><body><inertial mass="1" pos="0 0 0" diaginertia="1 1 1"/>
    <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0" ref="2"/>
    </body></worldbody>
    <actuator><motor joint="x" gear="10"/><motor joint="y" gear="10"/></actuator></mujoco>)";
  task.frame_skip = 5;
  task.control_cost = 0.25;
  task.alive_bonus = 3.0;
  task.position_noise = 0.5;
  task.velocity_noise = 0.1;
  task.velocity_clip = 0.4;
  return task;
}

TEST(LocomotionEnvironment, HasItsInfo) {
  const LocomotionEnvironment environment(cart_task());
  EXPECT_EQ(environment.info().name, "cart");
  EXPECT_EQ(environment.info().state_dim, 3);
  EXPECT_EQ(environment.info().action_dim, 2);
  EXPECT_EQ(environment.info().max_episode_steps, 1000);
  EXPECT_DOUBLE_EQ(environment.info().dt, 0.05);
}

TEST(LocomotionEnvironment, RewardAndObservationInClosedForm) {
  LocomotionEnvironment environment(cart_task());
  std::array<double, 3> observation{};
  environment.set_state(std::array{1.0, 2.0}, std::array{0.0, -7.0}, observation);
  EXPECT_EQ(observation, (std::array<double, 3>{2.0, 0.0, -0.4}));
  const StepResult result = environment.step(std::array{1.0, -9.0}, observation);
  // x moves by 10 dt^2 (1 + ... + 5); the second action counts as -1
  EXPECT_NEAR(result.reward, 10.0 * 1e-4 * 15.0 / 0.05 + 3.0 - 0.25 * 2.0, 1e-12);
  EXPECT_FALSE(result.terminated);
  EXPECT_EQ(observation[1], 0.4);  // of 0.5
}

TEST(LocomotionEnvironment, TerminalConditionAndBonusOfTheLastStep) {
  LocomotionTask task = cart_task();
  task.is_terminal = [](std::span<const double> qpos, std::span<const double> qvel) {
    return qpos[0] > 1.0 && qvel[1] == 0.0;
  };
  LocomotionEnvironment environment(task);
  std::array<double, 3> observation{};
  environment.set_state(std::array{0.99, 2.0}, std::array{1.0, 0.0}, observation);
  const StepResult result = environment.step(std::array{0.0, 0.0}, observation);
  EXPECT_TRUE(result.terminated);
  EXPECT_FALSE(result.truncated);
  EXPECT_NEAR(result.reward, 1.0 + 3.0, 1e-12);
}

TEST(LocomotionEnvironment, TheLastStepMaySetBothFlags) {
  LocomotionTask task = cart_task();
  task.is_terminal = [](std::span<const double> qpos, std::span<const double>) {
    return qpos[0] > 49.97;
  };
  LocomotionEnvironment environment(task);
  std::array<double, 3> observation{};
  // 0.05 m a step: 50 m after 1000 steps
  environment.set_state(std::array{0.0, 2.0}, std::array{1.0, 0.0}, observation);
  StepResult result;
  for (int t = 0; t < 1000; ++t) {
    EXPECT_FALSE(result.terminated || result.truncated);
    result = environment.step(std::array{0.0, 0.0}, observation);
  }
  EXPECT_TRUE(result.terminated);
  EXPECT_TRUE(result.truncated);
}

TEST(LocomotionEnvironment, StartNoise) {
  for (const bool normal : {false, true}) {
    LocomotionTask task = cart_task();
    task.normal_velocity_noise = normal;
    LocomotionEnvironment environment(task);
    RandomStream rng(1, "env");
    std::array<double, 3> observation{};
    double squares = 0.0;
    double largest = 0.0;
    constexpr int kResets = 4000;
    for (int i = 0; i < kResets; ++i) {
      environment.reset(rng, observation);
      const std::vector<double> qpos = environment.qpos();
      EXPECT_LE(std::abs(qpos[0]), 0.5);
      EXPECT_LE(std::abs(qpos[1] - 2.0), 0.5);  // around qpos0
      for (const double v : environment.qvel()) {
        squares += v * v;
        largest = std::max(largest, std::abs(v));
      }
    }
    // variance of U(-x, x) is a third of N(0, x^2)'s
    EXPECT_NEAR(squares / (2 * kResets), normal ? 0.01 : 0.01 / 3.0, normal ? 6e-4 : 2e-4);
    EXPECT_EQ(largest > 0.1, normal);
  }
}

}  // namespace
}  // namespace drop
