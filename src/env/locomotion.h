#pragma once

#include <array>
#include <limits>
#include <span>
#include <string>

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

/// The one geom of a body: a capsule along the body's x or z axis.
struct Capsule {
  double radius = 0.0;
  double half_length = 0.0;
  std::array<double, 3> centre = {0.0, 0.0, 0.0};
  char axis = 'z';
  double friction = 1.0;  ///< sliding
};

/// MJCF of a capsule inside a body: the geom and, with D4RL's physics, the old engine's inertia as
/// an explicit element. Without it MuJoCo infers today's inertia from the geom.
std::string capsule_elements(const std::string& name, const Capsule& capsule, Physics physics);

/// A number as MJCF text that reads back exactly.
std::string mjcf_number(double value);

}  // namespace drop
