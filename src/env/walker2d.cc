#include "env/locomotion.h"
#include "env/tasks.h"

namespace drop {

namespace {

// D4RL facts, section 1.5: the hopper's skeleton with two legs, of which only the feet differ
std::string walker2d_mjcf(Physics physics) {
  const auto limb = [&](const std::string& name, const std::string& position,
                        const std::string& hinge, const std::string& range, const Capsule& shape) {
    return "<body name=\"" + name + "\" pos=\"" + position + "\">\n<joint name=\"" + name +
           "_joint\" type=\"hinge\" axis=\"0 -1 0\" pos=\"" + hinge + "\" range=\"" + range +
           "\"/>\n" + capsule_elements(name, {shape}, physics);
  };
  const auto leg = [&](const std::string& side, double foot_friction) {
    return limb("thigh" + side, "0 0 -0.2", "0 0 0", "-150 0",
                {0.05, 0.225, {0, 0, -0.225}, {}, 0.9}) +
           limb("leg" + side, "0 0 -0.7", "0 0 0.25", "-150 0", {0.04, 0.25, {0, 0, 0}, {}, 0.9}) +
           limb("foot" + side, "0.2 0 -0.35", "-0.2 0 0.1", "-45 45",
                {0.06, 0.1, {-0.1, 0, 0.1}, kAlongX, foot_friction}) +
           "</body></body></body>\n";
  };
  return R"(<mujoco model="walker2d">
<compiler angle="degree"/>
<option integrator="RK4" timestep="0.002"/>
<default>
  <joint armature="0.01" damping="0.1" limited="true"/>
  <geom contype="1" conaffinity="0" condim="3" friction="0.7 0.1 0.1"/>
  <motor ctrllimited="true" ctrlrange="-1 1" gear="100"/>
</default>
<worldbody>
<geom name="floor" type="plane" pos="0 0 0" size="40 40 40" conaffinity="1"/>
<body name="torso" pos="0 0 1.25">
<joint name="rootx" type="slide" axis="1 0 0" armature="0" damping="0" limited="false"/>
<joint name="rootz" type="slide" axis="0 0 1" ref="1.25" armature="0" damping="0" limited="false"/>
<joint name="rooty" type="hinge" axis="0 1 0" armature="0" damping="0" limited="false"/>
)" + capsule_elements("torso", {{0.05, 0.2, {0, 0, 0}, {}, 0.9}}, physics) +
         leg("", 0.9) + leg("_left", 1.9) + R"(</body>
</worldbody>
<actuator>
<motor joint="thigh_joint"/>
<motor joint="leg_joint"/>
<motor joint="foot_joint"/>
<motor joint="thigh_left_joint"/>
<motor joint="leg_left_joint"/>
<motor joint="foot_left_joint"/>
</actuator>
</mujoco>)";
}

// fallen: too low, too high, or leans too far
bool has_fallen(std::span<const double> qpos, std::span<const double>) {
  const bool healthy = qpos[1] > 0.8 && qpos[1] < 2.0 && qpos[2] > -1.0 && qpos[2] < 1.0;
  return !healthy;
}

}  // namespace

void register_walker2d(EnvironmentRegistry& registry) {
  registry.add("walker2d", [](const EnvironmentOptions& options) {
    LocomotionTask task;
    task.name = "walker2d";
    task.mjcf = walker2d_mjcf(options.physics);
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
