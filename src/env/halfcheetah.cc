#include <numbers>

#include "env/locomotion.h"
#include "env/tasks.h"

namespace drop {

namespace {

constexpr double kRadius = 0.046;
constexpr double kTotalMass = 14.0;

// a body on a hinge about y at its origin
struct Limb {
  std::string name;
  std::array<double, 3> position;  // in its parent
  std::array<double, 2> range;     // radians
  double stiffness;
  double damping;
  Capsule capsule;
  double gear;
};

Capsule capsule(double half_length, const std::array<double, 3>& centre, Turn turn) {
  return {kRadius, half_length, centre, turn, 0.4};
}

// D4RL facts, section 1.3
std::vector<Capsule> torso_and_head() {
  return {capsule(0.5, {0, 0, 0}, kAlongX), capsule(0.15, {0.6, 0, 0.1}, turn_about_y(0.87))};
}

// each hangs from the one before it, the first from the torso
using Leg = std::array<Limb, 3>;

Leg back_leg() {
  return {{{"bthigh",
            {-0.5, 0, 0},
            {-0.52, 1.05},
            240,
            6,
            capsule(0.145, {0.1, 0, -0.13}, turn_about_y(-3.8)),
            120},
           {"bshin",
            {0.16, 0, -0.25},
            {-0.785, 0.785},
            180,
            4.5,
            capsule(0.15, {-0.14, 0, -0.07}, turn_about_y(-2.03)),
            90},
           {"bfoot",
            {-0.28, 0, -0.14},
            {-0.4, 0.785},
            120,
            3,
            capsule(0.094, {0.03, 0, -0.097}, turn_about_y(-0.27)),
            60}}};
}

Leg front_leg() {
  return {{{"fthigh",
            {0.5, 0, 0},
            {-1, 0.7},
            180,
            4.5,
            capsule(0.133, {-0.07, 0, -0.12}, turn_about_y(0.52)),
            120},
           {"fshin",
            {-0.14, 0, -0.24},
            {-1.2, 0.87},
            120,
            3,
            capsule(0.106, {0.065, 0, -0.09}, turn_about_y(-0.6)),
            60},
           {"ffoot",
            {0.13, 0, -0.18},
            {-0.5, 0.5},
            60,
            1.5,
            capsule(0.07, {0.045, 0, -0.07}, turn_about_y(-0.6)),
            30}}};
}

// as the engine reckons it
double volume(const Capsule& c, Physics physics) {
  if (physics == Physics::kD4rl) return old_capsule_inertia(c.radius, c.half_length, 1.0).mass;
  return std::numbers::pi * c.radius * c.radius * (2.0 * c.half_length + 4.0 / 3.0 * c.radius);
}

std::string halfcheetah_mjcf(Physics physics) {
  const std::vector<Capsule> torso = torso_and_head();
  const std::array<Leg, 2> legs = {back_leg(), front_leg()};

  // the density that gives the total mass
  double total = 0.0;
  for (const Capsule& part : torso) total += volume(part, physics);
  for (const Leg& leg : legs) {
    for (const Limb& limb : leg) total += volume(limb.capsule, physics);
  }
  const double density = kTotalMass / total;

  std::string bodies;
  std::string motors;
  for (const Leg& leg : legs) {
    for (const Limb& limb : leg) {
      bodies += "<body name=\"" + limb.name + "\" pos=\"" + mjcf_vector(limb.position) +
                "\">\n<joint name=\"" + limb.name +
                "_joint\" type=\"hinge\" axis=\"0 1 0\" range=\"" + mjcf_number(limb.range[0]) +
                " " + mjcf_number(limb.range[1]) + "\" stiffness=\"" + mjcf_number(limb.stiffness) +
                "\" damping=\"" + mjcf_number(limb.damping) + "\"/>\n" +
                capsule_elements(limb.name, {limb.capsule}, physics, density);
      motors +=
          "<motor joint=\"" + limb.name + "_joint\" gear=\"" + mjcf_number(limb.gear) + "\"/>\n";
    }
    bodies += "</body></body></body>\n";
  }
  return R"(<mujoco model="halfcheetah">
<compiler angle="radian"/>
<option timestep="0.01"/>
<default>
  <joint armature="0.1" limited="true" solreflimit="0.02 1" solimplimit="0 0.8 0.03"/>
  <geom contype="1" conaffinity="0" condim="3" friction="0.4 0.1 0.1" solref="0.02 1"
        solimp="0 0.8 0.01"/>
  <motor ctrllimited="true" ctrlrange="-1 1"/>
</default>
<worldbody>
<geom name="floor" type="plane" pos="0 0 0" size="40 40 40" conaffinity="1"/>
<body name="torso" pos="0 0 0.7">
<joint name="rootx" type="slide" axis="1 0 0" armature="0" limited="false"/>
<joint name="rootz" type="slide" axis="0 0 1" armature="0" limited="false"/>
<joint name="rooty" type="hinge" axis="0 1 0" armature="0" limited="false"/>
)" + capsule_elements("torso", torso, physics, density) +
         bodies + "</body>\n</worldbody>\n<actuator>\n" + motors + "</actuator>\n</mujoco>";
}

}  // namespace

void register_halfcheetah(EnvironmentRegistry& registry) {
  registry.add("halfcheetah", [](const EnvironmentOptions& options) {
    LocomotionTask task;
    task.name = "halfcheetah";
    task.mjcf = halfcheetah_mjcf(options.physics);
    task.frame_skip = 5;
    task.control_cost = 0.1;
    task.position_noise = 0.1;
    task.velocity_noise = 0.1;
    task.normal_velocity_noise = true;
    return std::make_unique<LocomotionEnvironment>(task);
  });
}

}  // namespace drop
