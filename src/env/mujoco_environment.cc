#include "env/mujoco_environment.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/text.h"

namespace drop {

namespace {

void require_size(const TaskInfo& info, const std::string& what, size_t found, int64_t allowed) {
  if (found == static_cast<size_t>(allowed)) return;
  throw RunError(info.name + ": " + what + " has " + std::to_string(found) +
                 " entries, this task has " + std::to_string(allowed) +
                 "; pass a span of that size");
}

void require_finite(const TaskInfo& info, const std::string& what, std::span<const double> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw RunError(info.name + ": " + what + "[" + std::to_string(i) + "] is " +
                   shortest(values[i]) + ", only finite numbers are allowed; check what made it");
  }
}

}  // namespace

MujocoEnvironment::MujocoEnvironment(TaskInfo info, MujocoModel model)
    : info_(std::move(info)),
      simulation_(std::move(model)),
      action_(static_cast<size_t>(info_.action_dim)) {}

void MujocoEnvironment::reset(RandomStream& rng, std::span<double> observation) {
  require_size(info_, "observation", observation.size(), info_.state_dim);
  std::vector<double> positions(model().qpos0, model().qpos0 + model().nq);
  std::vector<double> velocities(static_cast<size_t>(model().nv), 0.0);
  draw_start(rng, positions, velocities);
  begin_episode(positions, velocities, observation);
}

void MujocoEnvironment::set_state(std::span<const double> qpos, std::span<const double> qvel,
                                  std::span<double> observation) {
  require_size(info_, "qpos", qpos.size(), model().nq);
  require_size(info_, "qvel", qvel.size(), model().nv);
  require_size(info_, "observation", observation.size(), info_.state_dim);
  require_finite(info_, "qpos", qpos);
  require_finite(info_, "qvel", qvel);
  begin_episode(qpos, qvel, observation);
}

void MujocoEnvironment::begin_episode(std::span<const double> qpos, std::span<const double> qvel,
                                      std::span<double> observation) {
  over_ = true;  // stays so if MuJoCo refuses the state
  steps_ = 0;
  simulation_.set_state(qpos, qvel);
  over_ = false;
  write_observation(observation);
}

StepResult MujocoEnvironment::step(std::span<const double> action, std::span<double> observation) {
  require_size(info_, "action", action.size(), info_.action_dim);
  require_size(info_, "observation", observation.size(), info_.state_dim);
  require_finite(info_, "action", action);
  if (over_) {
    throw RunError(info_.name +
                   ": step without a running episode; call reset or set_state first and after each "
                   "terminated or truncated step");
  }

  // an error inside leaves the episode over, with nothing to resume
  over_ = true;
  const int64_t taken = std::exchange(steps_, 0);
  std::transform(action.begin(), action.end(), action_.begin(),
                 [](double a) { return std::clamp(a, -1.0, 1.0); });
  StepResult result = advance(action_);
  steps_ = taken + 1;
  result.truncated = steps_ >= info_.max_episode_steps;
  over_ = result.terminated || result.truncated;
  write_observation(observation);
  return result;
}

void MujocoEnvironment::resume() {
  if (steps_ == 0) {
    throw RunError(info_.name + ": resume without a step before it; call reset or set_state first");
  }
  steps_ = 0;
  over_ = false;
}

std::vector<double> MujocoEnvironment::qpos() const {
  return {simulation_.qpos().begin(), simulation_.qpos().end()};
}

std::vector<double> MujocoEnvironment::qvel() const {
  return {simulation_.qvel().begin(), simulation_.qvel().end()};
}

}  // namespace drop
