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

std::string old_inertial_element(const std::vector<Capsule>& capsules, double density) {
  // common mass and centre
  const std::array<double, 3> origin = capsules.front().centre;
  double mass = 0.0;
  std::array<double, 3> moment = {0.0, 0.0, 0.0};
  for (const Capsule& c : capsules) {
    const double m = old_capsule_inertia(c.radius, c.half_length, density).mass;
    mass += m;
    for (size_t i = 0; i < 3; ++i) moment[i] += m * (c.centre[i] - origin[i]);
  }
  std::array<double, 3> centre = origin;
  for (size_t i = 0; i < 3; ++i) centre[i] += moment[i] / mass;

  // inertia about it: each capsule's own, turned, and that of its mass at its centre
  double xx = 0.0, yy = 0.0, zz = 0.0, xy = 0.0, xz = 0.0, yz = 0.0;
  for (const Capsule& c : capsules) {
    const CapsuleInertia own = old_capsule_inertia(c.radius, c.half_length, density);
    const double square = c.turn.cosine * c.turn.cosine + c.turn.sine * c.turn.sine;
    const double axis_x = 2.0 * c.turn.cosine * c.turn.sine / square;
    const double axis_z = (c.turn.cosine * c.turn.cosine - c.turn.sine * c.turn.sine) / square;
    const double x = c.centre[0] - centre[0];
    const double y = c.centre[1] - centre[1];
    const double z = c.centre[2] - centre[2];
    xx +=
        own.axial * axis_x * axis_x + own.transverse * axis_z * axis_z + own.mass * (y * y + z * z);
    yy += own.transverse + own.mass * (x * x + z * z);
    zz +=
        own.axial * axis_z * axis_z + own.transverse * axis_x * axis_x + own.mass * (x * x + y * y);
    xy -= own.mass * x * y;
    xz += (own.axial - own.transverse) * axis_x * axis_z - own.mass * x * z;
    yz -= own.mass * y * z;
  }
  const bool diagonal = xy == 0.0 && xz == 0.0 && yz == 0.0;
  return "<inertial mass=\"" + mjcf_number(mass) + "\" pos=\"" + mjcf_vector(centre) +
         (diagonal ? "\" diaginertia=\"" : "\" fullinertia=\"") + mjcf_vector({xx, yy, zz}) +
         (diagonal ? "" : " " + mjcf_vector({xy, xz, yz})) + "\"/>\n";
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

Turn turn_about_y(double angle) { return {std::cos(0.5 * angle), std::sin(0.5 * angle)}; }

std::string capsule_elements(const std::string& name, const std::vector<Capsule>& capsules,
                             Physics physics, double density) {
  std::string text = physics == Physics::kD4rl ? old_inertial_element(capsules, density) : "";
  for (size_t k = 0; k < capsules.size(); ++k) {
    const Capsule& c = capsules[k];
    const std::string number = k == 0 ? "" : "_" + std::to_string(k + 1);
    text += "<geom name=\"" + name + "_geom" + number + "\" type=\"capsule\" size=\"" +
            mjcf_number(c.radius) + " " + mjcf_number(c.half_length) + "\" pos=\"" +
            mjcf_vector(c.centre) + "\" quat=\"" + mjcf_number(c.turn.cosine) + " 0 " +
            mjcf_number(c.turn.sine) + " 0\" friction=\"" + mjcf_number(c.friction) +
            "\" density=\"" + mjcf_number(density) + "\"/>\n";
  }
  return text;
}

std::string mjcf_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

std::string mjcf_vector(const std::array<double, 3>& values) {
  return mjcf_number(values[0]) + " " + mjcf_number(values[1]) + " " + mjcf_number(values[2]);
}

}  // namespace drop
