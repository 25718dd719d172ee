#include <algorithm>
#include <cmath>

#include "env/ant_model.h"
#include "env/locomotion.h"
#include "env/tasks.h"

namespace drop {

namespace {

// 13 observed positions, 14 velocities, contact forces of 14 bodies
constexpr int64_t kStateDim = 111;

// fallen or thrown up
bool is_unhealthy(std::span<const double> qpos, std::span<const double> qvel) {
  const auto is_finite = [](double value) { return std::isfinite(value); };
  const bool healthy = std::all_of(qpos.begin(), qpos.end(), is_finite) &&
                       std::all_of(qvel.begin(), qvel.end(), is_finite) && qpos[2] >= 0.2 &&
                       qpos[2] <= 1.0;
  return !healthy;
}

LocomotionTask ant_task(Physics physics) {
  LocomotionTask task;
  task.name = std::string(kGymAnt.name);
  task.mjcf = ant_mjcf(kGymAnt, physics);
  task.frame_skip = kAntFrameSkip;
  task.control_cost = 0.5;
  task.alive_bonus = 1.0;
  task.hidden_positions = 2;
  task.is_terminal = is_unhealthy;
  return task;
}

// Gym's Ant-v2 as D4RL used it (facts, section 1.1): the engine never filled the contact forces, so
// their part of the observation and the contact cost are zero
class AntEnvironment final : public LocomotionEnvironment {
 public:
  AntEnvironment(const LocomotionTask& task, Physics physics)
      : LocomotionEnvironment(task, compile_mjcf(task.mjcf, task.name), kStateDim),
        physics_(physics) {}

 private:
  void draw_start(RandomStream& rng, std::span<double> qpos,
                  std::span<double> qvel) const override {
    draw_ant_start(rng, physics_, qpos, qvel);
  }

  void write_observation(std::span<double> observation) const override {
    std::fill(observation.begin(), observation.end(), 0.0);
    LocomotionEnvironment::write_observation(observation);
  }

  // the torso's x as the engine last computed it, in the last stage of the last sub-step: not
  // quite qpos[0]
  double forward_position() const override { return simulation().data().xpos[3]; }

  Physics physics_;
};

}  // namespace

void register_ant(EnvironmentRegistry& registry) {
  registry.add("ant", [](const EnvironmentOptions& options) {
    return std::make_unique<AntEnvironment>(ant_task(options.physics), options.physics);
  });
}

}  // namespace drop
