#include "env/ant_model.h"

#include <mujoco/mujoco.h>

#include <cmath>

#include "env/locomotion.h"

namespace drop {

namespace {

constexpr double kCapsuleRadius = 0.08;
constexpr double kDensity = 5.0;

// where a leg points to (signs of x and y) and how its ankle turns
struct Leg {
  double x = 0.0;
  double y = 0.0;
  std::string_view ankle_axis;
  std::string_view ankle_range;
};

constexpr Leg kLegs[] = {{1.0, 1.0, "-1 1 0", "30 70"},
                         {-1.0, 1.0, "1 1 0", "-70 -30"},
                         {-1.0, -1.0, "-1 1 0", "-70 -30"},
                         {1.0, -1.0, "1 1 0", "30 70"}};

// the motors' order
constexpr int kMotorLegs[] = {4, 1, 2, 3};

std::string along(const Leg& leg, double length) {
  return mjcf_number(leg.x * length) + " " + mjcf_number(leg.y * length) + " 0";
}

// a body's capsule from its origin to (+-length, +-length, 0)
std::string capsule(const Leg& leg, double length, Physics physics) {
  std::string text;
  if (physics == Physics::kD4rl) {
    const double half_length = length * std::sqrt(2.0) / 2.0;
    const CapsuleInertia i = old_capsule_inertia(kCapsuleRadius, half_length, kDensity);
    const double angle = 45.0 * leg.y * (leg.x > 0.0 ? 1.0 : 3.0);
    text += "<inertial mass=\"" + mjcf_number(i.mass) + "\" pos=\"" + along(leg, length / 2.0) +
            "\" euler=\"0 0 " + mjcf_number(angle) + "\" diaginertia=\"" + mjcf_number(i.axial) +
            " " + mjcf_number(i.transverse) + " " + mjcf_number(i.transverse) + "\"/>\n";
  }
  return text + "<geom type=\"capsule\" size=\"" + mjcf_number(kCapsuleRadius) +
         "\" fromto=\"0 0 0 " + along(leg, length) + "\"/>\n";
}

// three bodies: a rigid root on the torso, one that turns at the hip, one that turns at the ankle
std::string leg_elements(int number, Physics physics) {
  const Leg& leg = kLegs[number - 1];
  const std::string n = std::to_string(number);
  return "<body name=\"leg_" + n + "\">\n" + capsule(leg, 0.2, physics) +  //
         "<body name=\"aux_" + n + "\" pos=\"" + along(leg, 0.2) + "\">\n" + "<joint name=\"hip_" +
         n + "\" type=\"hinge\" axis=\"0 0 1\" range=\"-30 30\"/>\n" +
         capsule(leg, 0.2, physics) +  //
         "<body name=\"foot_" + n + "\" pos=\"" + along(leg, 0.2) + "\">\n" +
         "<joint name=\"ankle_" + n + "\" type=\"hinge\" axis=\"" + std::string(leg.ankle_axis) +
         "\" range=\"" + std::string(leg.ankle_range) + "\"/>\n" + capsule(leg, 0.4, physics) +
         "</body></body></body>\n";
}

}  // namespace

std::string ant_mjcf(const AntVariant& variant, Physics physics, const std::string& scenery) {
  std::string legs;
  for (int number = 1; number <= 4; ++number) legs += leg_elements(number, physics);
  std::string motors;
  for (const int number : kMotorLegs) {
    for (const std::string joint : {"hip_", "ankle_"}) {
      motors += "<motor joint=\"" + joint + std::to_string(number) + "\"/>\n";
    }
  }
  const std::string limit = mjcf_number(variant.control_limit);
  return "<mujoco model=\"" + std::string(variant.name) + R"(">
<compiler angle="degree"/>
<option integrator="RK4" timestep=")" +
         mjcf_number(variant.timestep) + R"("/>
<default>
  <joint armature="1" damping="1" limited="true"/>
  <geom contype="1" conaffinity="0" condim="3" margin="0.01" friction="1 0.5 0.5" solref="0.02 1"
        solimp=")" +
         std::string(variant.solimp) + "\" density=\"" + mjcf_number(kDensity) + R"("/>
  <motor ctrllimited="true" ctrlrange="-)" +
         limit + " " + limit + "\" gear=\"" + mjcf_number(variant.gear) + R"("/>
</default>
<worldbody>
<geom name="floor" type="plane" size="40 40 40" conaffinity="1"/>
<body name="torso" pos="0 0 0.75">
<joint name="root" type="free" armature="0" damping="0" limited="false" margin="0.01"/>
<geom name="torso_geom" type="sphere" size="0.25"/>
)" + legs +
         "</body>\n" + scenery + R"(</worldbody>
<actuator>
)" + motors +
         R"(</actuator>
</mujoco>)";
}

void draw_ant_start(RandomStream& rng, Physics physics, std::span<double> qpos,
                    std::span<double> qvel) {
  for (double& x : qpos) x += rng.uniform(-0.1, 0.1);
  for (double& v : qvel) v = 0.1 * rng.normal();
  if (physics == Physics::kD4rl) mju_normalize4(&qpos[3]);
}

}  // namespace drop
