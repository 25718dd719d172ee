#pragma once

#include <array>
#include <limits>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "env/mujoco_environment.h"

namespace drop {

/// What distinguishes one of Gym's running robots (D4RL facts, table 1.1).
struct LocomotionTask {
  std::string name;
  std::string mjcf;
  int frame_skip = 0;
  double control_cost = 0.0;    ///< times the sum of squared (clipped) actions
  double alive_bonus = 0.0;     ///< every step, the terminating one too
  double position_noise = 0.0;  ///< start: qpos0 + U(-x, x) for each coordinate
  double velocity_noise = 0.0;  ///< start: U(-x, x) or N(0, x^2) for each degree of freedom
  bool normal_velocity_noise = false;
  int hidden_positions = 1;  ///< leading coordinates that are not observed
  double velocity_clip = std::numeric_limits<double>::infinity();  ///< of observed velocities
  /// True when the state (qpos, qvel) ends the episode; none = never.
  bool (*is_terminal)(std::span<const double> qpos, std::span<const double> qvel) = nullptr;
};

/// A task of Gym's `*-v2` generation: the reward is forward speed + alive bonus - control cost, the
/// observation qpos without its hidden part and the clipped qvel, the time limit 1000 steps.
///
/// `physics: modern` keeps these semantics and takes today's inertias: gymnasium's v4 tasks. The v5
/// tasks give no alive bonus on the step that ends an episode, and the right foot of their walker2d
/// has the friction 1.9 instead of 0.9 (D4RL facts, section 1.9).
///
/// What a replay of recorded states can expect (one step at a time, largest entry of the
/// observation; measured on MuJoCo 3.17.0): from float64 states 1e-12, but about 1e-7 on the rare
/// step (1 in 5000) where the solver had stopped elsewhere because it went on from the step before.
/// D4RL's files hold float32: then the median is 2e-7 to 5e-7, and 99 % of the steps stay below
/// 1e-6 (hopper), 5e-6 (walker2d) and 2e-5 (halfcheetah); where a contact begins or ends,
/// halfcheetah reaches 2e-3. Hopper's and walker2d's v2 files hold clipped velocities (facts, row
/// 12): a step from one of those is wrong by up to 17, and only the others can be judged.
class LocomotionEnvironment : public MujocoEnvironment {
 public:
  explicit LocomotionEnvironment(const LocomotionTask& task);

 protected:
  LocomotionEnvironment(const LocomotionTask& task, MujocoModel model, int64_t state_dim);

  void draw_start(RandomStream& rng, std::span<double> qpos, std::span<double> qvel) const override;
  StepResult advance(std::span<const double> action) override;
  void write_observation(std::span<double> observation) const override;
  /// The coordinate whose change is rewarded.
  virtual double forward_position() const;

 private:
  LocomotionEnvironment(const LocomotionTask& task, const MujocoModel& model);

  LocomotionTask task_;
};

/// Mass and moments of inertia about the centre.
struct CapsuleInertia {
  double mass = 0.0;
  double transverse = 0.0;  ///< about each axis across
  double axial = 0.0;       ///< about the capsule's own axis
};

/// As MuJoCo <= 2.1.0 computed them: a cylinder of length 2 h + r (D4RL facts, section 1.7).
CapsuleInertia old_capsule_inertia(double radius, double half_length, double density = 1000.0);

/// A rotation about a body's y axis, by the cosine and the sine of half its angle.
struct Turn {
  double cosine = 1.0;
  double sine = 0.0;
};

/// @param angle  radians
Turn turn_about_y(double angle);

/// A quarter turn to the last bit: lays a capsule along the body's -x axis.
inline constexpr Turn kAlongX = {0.5 * std::numbers::sqrt2, -0.5 * std::numbers::sqrt2};

/// A geom of a body: a capsule along the body's z axis, turned.
struct Capsule {
  double radius = 0.0;
  double half_length = 0.0;
  std::array<double, 3> centre = {0.0, 0.0, 0.0};
  Turn turn = {};
  double friction = 1.0;  ///< sliding
};

/// MJCF of a body's capsules (one or more): the geoms and, with D4RL's physics, the old engine's
/// inertia of them all as an explicit element. Without it MuJoCo infers today's inertia from the
/// geoms.
std::string capsule_elements(const std::string& name, const std::vector<Capsule>& capsules,
                             Physics physics, double density = 1000.0);

/// A number as MJCF text that reads back exactly.
std::string mjcf_number(double value);

/// Three of them.
std::string mjcf_vector(const std::array<double, 3>& values);

}  // namespace drop
