#pragma once

#include <cstdint>
#include <string>

namespace drop {

/// How D4RL made its Maze2D data (facts: planner + PD controller, random targets, one continuous
/// trajectory).
struct Maze2dGeneratorOptions {
  std::string task = "maze2d-umaze";  ///< also decides sparse or dense rewards
  int64_t rows = 1000000;
  uint64_t seed = 0;
  double action_noise = 0.0;  ///< add N(0, x^2) to actions, then clip; D4RL's script: 0.5
  bool quiet = false;         ///< no progress
};

/// Generates a D4RL-layout file: observations, actions, rewards, terminals, timeouts, infos/goal,
/// infos/qpos, infos/qvel, with provenance attributes. As in D4RL's files (facts 0.6, 0.7, 0.15):
/// terminals are all false; timeouts mark the rows whose random target was reached, or given up
/// after the task's time limit; the row after such a row repeats its observation while infos/qpos
/// moves on; rewards[t] belongs to observations[t] and the task's fixed goal; infos/goal is the
/// random target. Unlike theirs, infos/qpos and infos/qvel are float64 and the physics used the
/// float32 actions of the file, so that each step can be replayed. The content depends on the
/// options alone. Throws UsageError for a task that is no Maze2D or no rows, RunError when the file
/// cannot be written, Interrupted after a signal (no file is left then).
void generate_maze2d(const Maze2dGeneratorOptions& options, const std::string& path);

}  // namespace drop
