#include "env/locomotion.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>

namespace drop {

namespace {

TaskInfo info_of(const LocomotionTask& task, const mjModel& model, int64_t state_dim) {
  TaskInfo info;
  info.name = task.name;
  info.state_dim = state_dim;
  info.action_dim = model.nu;
  info.max_episode_steps = 1000;
  info.dt = model.opt.timestep * task.frame_skip;
  return info;
}

std::string mjcf_vector(const std::array<double, 3>& values) {
  return mjcf_number(values[0]) + " " + mjcf_number(values[1]) + " " + mjcf_number(values[2]);
}

}  // namespace

LocomotionEnvironment::LocomotionEnvironment(const LocomotionTask& task)
    : LocomotionEnvironment(task, compile_mjcf(task.mjcf, task.name)) {}

LocomotionEnvironment::LocomotionEnvironment(const LocomotionTask& task, const MujocoModel& model)
    : LocomotionEnvironment(task, model, model->nq - task.hidden_positions + model->nv) {}

LocomotionEnvironment::LocomotionEnvironment(const LocomotionTask& task, MujocoModel model,
                                             int64_t state_dim)
    : MujocoEnvironment(info_of(task, *model, state_dim), model), task_(task) {}

void LocomotionEnvironment::draw_start(RandomStream& rng, std::span<double> qpos,
                                       std::span<double> qvel) const {
  for (double& x : qpos) x += rng.uniform(-task_.position_noise, task_.position_noise);
  for (double& v : qvel) {
    v = task_.normal_velocity_noise ? task_.velocity_noise * rng.normal()
                                    : rng.uniform(-task_.velocity_noise, task_.velocity_noise);
  }
}

StepResult LocomotionEnvironment::advance(std::span<const double> action) {
  // forward speed from the positions before and after
  const double before = forward_position();
  simulation().step(action, task_.frame_skip);
  const double speed = (forward_position() - before) / info().dt;

  double squares = 0.0;
  for (const double a : action) squares += a * a;
  StepResult result;
  result.reward = speed + task_.alive_bonus - task_.control_cost * squares;
  result.terminated =
      task_.is_terminal != nullptr && task_.is_terminal(simulation().qpos(), simulation().qvel());
  return result;
}

void LocomotionEnvironment::write_observation(std::span<double> observation) const {
  const auto positions = simulation().qpos().subspan(static_cast<size_t>(task_.hidden_positions));
  auto out = std::copy(positions.begin(), positions.end(), observation.begin());
  for (const double v : simulation().qvel()) {
    *out++ = std::clamp(v, -task_.velocity_clip, task_.velocity_clip);
  }
}

double LocomotionEnvironment::forward_position() const { return simulation().qpos()[0]; }

CapsuleInertia old_capsule_inertia(double radius, double half_length, double density) {
  const double length = 2.0 * half_length + radius;
  CapsuleInertia inertia;
  inertia.mass = density * std::numbers::pi * radius * radius * length;
  inertia.transverse = inertia.mass * (3.0 * radius * radius + length * length) / 12.0;
  inertia.axial = inertia.mass * radius * radius / 2.0;
  return inertia;
}

std::string capsule_elements(const std::string& name, const Capsule& capsule, Physics physics) {
  std::string text;
  const std::string centre = mjcf_vector(capsule.centre);
  if (physics == Physics::kD4rl) {
    const CapsuleInertia i = old_capsule_inertia(capsule.radius, capsule.half_length);
    const std::array<double, 3> diagonal = {capsule.axis == 'x' ? i.axial : i.transverse,
                                            i.transverse,
                                            capsule.axis == 'z' ? i.axial : i.transverse};
    text += "<inertial mass=\"" + mjcf_number(i.mass) + "\" pos=\"" + centre + "\" diaginertia=\"" +
            mjcf_vector(diagonal) + "\"/>\n";
  }
  // a capsule lies along its own z axis; a quarter turn about y lays it along -x
  const double half_root = std::sqrt(0.5);
  const std::string turn = capsule.axis == 'x' ? " quat=\"" + mjcf_number(half_root) + " 0 " +
                                                     mjcf_number(-half_root) + " 0\""
                                               : "";
  text += "<geom name=\"" + name + "_geom\" type=\"capsule\" size=\"" +
          mjcf_number(capsule.radius) + " " + mjcf_number(capsule.half_length) + "\" pos=\"" +
          centre + "\"" + turn + " friction=\"" + mjcf_number(capsule.friction) + "\"/>\n";
  return text;
}

std::string mjcf_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

}  // namespace drop
