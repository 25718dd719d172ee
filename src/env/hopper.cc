#include <algorithm>
#include <cmath>

#include "env/locomotion.h"
#include "env/tasks.h"

namespace drop {

namespace {

// D4RL facts, section 1.4: a torso on a thigh, a leg and a foot, moving in the x-z plane
std::string hopper_mjcf(Physics physics) {
  const auto capsule = [&](const std::string& name, const Capsule& shape) {
    return capsule_elements(name, {shape}, physics);
  };
  return R"(<mujoco model="hopper">
<compiler angle="degree"/>
<option integrator="RK4" timestep="0.002"/>
<default>
  <joint armature="1" damping="1" limited="true"/>
  <geom contype="1" conaffinity="1" condim="1" margin="0.001" solref="0.02 1"
        solimp="0.8 0.8 0.01" density="1000"/>
  <motor ctrllimited="true" ctrlrange="-1 1"/>
</default>
<worldbody>
<geom name="floor" type="plane" pos="0 0 0" size="40 40 40" condim="3"/>
<body name="torso" pos="0 0 1.25">
<joint name="rootx" type="slide" axis="1 0 0" armature="0" damping="0" limited="false"/>
<joint name="rootz" type="slide" axis="0 0 1" ref="1.25" armature="0" damping="0" limited="false"/>
<joint name="rooty" type="hinge" axis="0 1 0" armature="0" damping="0" limited="false"/>
)" + capsule("torso", {0.05, 0.2, {0, 0, 0}, {}, 0.9}) +
         R"(<body name="thigh" pos="0 0 -0.2">
<joint name="thigh_joint" type="hinge" axis="0 -1 0" pos="0 0 0" range="-150 0"/>
)" + capsule("thigh", {0.05, 0.225, {0, 0, -0.225}, {}, 0.9}) +
         R"(<body name="leg" pos="0 0 -0.7">
<joint name="leg_joint" type="hinge" axis="0 -1 0" pos="0 0 0.25" range="-150 0"/>
)" + capsule("leg", {0.04, 0.25, {0, 0, 0}, {}, 0.9}) +
         R"(<body name="foot" pos="0.13 0 -0.35">
<joint name="foot_joint" type="hinge" axis="0 -1 0" pos="-0.13 0 0.1" range="-45 45"/>
)" + capsule("foot", {0.06, 0.195, {-0.065, 0, 0.1}, kAlongX, 2.0}) +
         R"(</body></body></body></body>
</worldbody>
<actuator>
<motor joint="thigh_joint" gear="200"/>
<motor joint="leg_joint" gear="200"/>
<motor joint="foot_joint" gear="200"/>
</actuator>
</mujoco>)";
}

// fallen: any coordinate but x (and z) or any velocity runs away, too low, or leans too far
bool has_fallen(std::span<const double> qpos, std::span<const double> qvel) {
  const auto is_sane = [](double value) { return std::isfinite(value) && std::abs(value) < 100.0; };
  const bool healthy = std::isfinite(qpos[0]) && std::isfinite(qpos[1]) &&
                       std::all_of(qpos.begin() + 2, qpos.end(), is_sane) &&
                       std::all_of(qvel.begin(), qvel.end(), is_sane) && qpos[1] > 0.7 &&
                       std::abs(qpos[2]) < 0.2;
  return !healthy;
}

}  // namespace

void register_hopper(EnvironmentRegistry& registry) {
  registry.add("hopper", [](const EnvironmentOptions& options) {
    LocomotionTask task;
    task.name = "hopper";
    task.mjcf = hopper_mjcf(options.physics);
    task.frame_skip = 4;
    task.control_cost = 1e-3;
    task.alive_bonus = 1.0;
    task.position_noise = 0.005;
    task.velocity_noise = 0.005;
    task.velocity_clip = 10.0;
    task.is_terminal = has_fallen;
    return std::make_unique<LocomotionEnvironment>(task);
  });
}

}  // namespace drop
