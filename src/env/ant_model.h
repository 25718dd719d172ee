#pragma once

#include <span>
#include <string>
#include <string_view>

#include "drop/base/random.h"
#include "drop/config/config.h"

namespace drop {

/// What distinguishes Gym's ant from the ant of D4RL's AntMaze (D4RL facts, section 1.6).
struct AntVariant {
  std::string_view name;
  double timestep = 0.0;
  double gear = 0.0;
  double control_limit = 0.0;  ///< the motors take [-x, x]
  std::string_view solimp;     ///< of all contacts
};

inline constexpr AntVariant kGymAnt = {"ant", 0.01, 150.0, 1.0, "0.9 0.95 0.001"};
inline constexpr AntVariant kMazeAnt = {"antmaze", 0.02, 1.0, 30.0, "0.8 0.8 0.01"};

/// Simulator steps in a step of the environment.
inline constexpr int kAntFrameSkip = 5;

/// MJCF of the four-legged ant on a floor. D4RL's physics write the old engine's capsule inertias
/// as explicit elements, today's follow from the geoms.
/// @param scenery  more elements of the world; its geoms take the ant's defaults
std::string ant_mjcf(const AntVariant& variant, Physics physics, const std::string& scenery = "");

/// Changes qpos0 [15] and qvel [14] into a start: qpos0 + U(-0.1, 0.1), N(0, 0.1^2). The engine of
/// D4RL's data made the quaternion a unit one before it was first observed, today's engine does so
/// with the first step only: `physics` decides.
void draw_ant_start(RandomStream& rng, Physics physics, std::span<double> qpos,
                    std::span<double> qvel);

}  // namespace drop
