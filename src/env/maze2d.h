#pragma once

#include "env/maze2d_layout.h"
#include "env/mujoco_environment.h"

namespace drop {

/// D4RL's point mass in a maze (facts, section 2.2): observation (x, y, their velocities), action a
/// force along x and y, no termination. The physics option does not matter: a sphere's inertia is
/// the same in both engines.
class Maze2dEnvironment final : public MujocoEnvironment {
 public:
  explicit Maze2dEnvironment(Maze2dTask task);

  const Maze2dTask& task() const { return task_; }
  std::optional<FloorPlan> floor_plan() const override;

 private:
  void draw_start(RandomStream& rng, std::span<double> qpos, std::span<double> qvel) const override;
  StepResult advance(std::span<const double> action) override;
  void write_observation(std::span<double> observation) const override;

  Maze2dTask task_;
};

/// A random point that D4RL's starts and generator targets use: the centre of an open cell
/// + U(-0.1, 0.1) for each coordinate.
MazePoint random_maze_point(const Maze& maze, RandomStream& rng);

/// The boxes of a maze's model are its walls; `origin` is the world's point of qpos (0, 0).
FloorPlan maze_floor_plan(const mjModel& model, const MazePoint& origin, const MazePoint& goal);

}  // namespace drop
