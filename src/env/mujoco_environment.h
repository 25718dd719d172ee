#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "drop/env/environment.h"
#include "env/mujoco_simulation.h"

namespace drop {

/// What all MuJoCo tasks share: spans are checked, actions are checked and clipped, the episode's
/// clock runs. A task adds where it starts, what one step is and what is observed.
///
/// Errors, all RunError: a span of a wrong size, an action or state that is not finite, a step
/// before the first reset or after the episode's end. When the last allowed step also ends the
/// task, both flags of StepResult are set.
class MujocoEnvironment : public Environment {
 public:
  const TaskInfo& info() const override { return info_; }
  void reset(RandomStream& rng, std::span<double> observation) override;
  StepResult step(std::span<const double> action, std::span<double> observation) override;
  std::vector<double> qpos() const override;
  std::vector<double> qvel() const override;
  void set_state(std::span<const double> qpos, std::span<const double> qvel,
                 std::span<double> observation) override;
  void resume() override;

  const mjModel& model() const { return simulation_.model(); }

 protected:
  MujocoEnvironment(TaskInfo info, MujocoModel model);

  /// Changes qpos0 [nq] and zero velocities [nv] into a start state.
  virtual void draw_start(RandomStream& rng, std::span<double> qpos,
                          std::span<double> qvel) const = 0;
  /// One step with a clipped action; `truncated` is not its business.
  virtual StepResult advance(std::span<const double> action) = 0;
  virtual void write_observation(std::span<double> observation) const = 0;

  MujocoSimulation& simulation() { return simulation_; }
  const MujocoSimulation& simulation() const { return simulation_; }

 private:
  void begin_episode(std::span<const double> qpos, std::span<const double> qvel,
                     std::span<double> observation);

  TaskInfo info_;
  MujocoSimulation simulation_;
  std::vector<double> action_;
  int64_t steps_ = 0;
  bool over_ = true;
};

}  // namespace drop
