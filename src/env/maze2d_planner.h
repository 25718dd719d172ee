#pragma once

#include <optional>
#include <vector>

#include "drop/base/random.h"
#include "env/maze2d_layout.h"

namespace drop {

/// D4RL's planner (facts, section 2.3): the cells that a greedy walk from `start` visits, `start`
/// itself not included, the last one being `target`. Values come from 50 sweeps of tabular
/// Q-iteration (reward 1 on the target cell, discount 0.99); ties go to the first of stay, y-1,
/// y+1, x-1, x+1. `start` may be a wall cell, since positions are rounded. The walk is cut after
/// 100 cells.
std::vector<MazeCell> plan_maze_path(const Maze& maze, MazeCell start, MazeCell target);

/// The cell that a position belongs to for D4RL: rounded, halves to even.
MazeCell maze_cell_of(const MazePoint& position);

/// D4RL's way-point controller. It plans when the target's *cell* differs from the planned one, and
/// at no other time: neither a new episode nor another target in the same cell renews a plan.
class WaypointController {
 public:
  explicit WaypointController(Maze maze) : maze_(std::move(maze)) {}

  struct Decision {
    MazePoint action{};
    bool reached = false;  ///< within 0.1 of the target cell's point, moved less than 0.1
  };

  /// @param rng  shifts the way-points of a new plan by -U(0, 0.2) for each coordinate
  Decision act(const MazePoint& position, const MazePoint& velocity, const MazePoint& target,
               RandomStream& rng);

  /// Way-points of the present plan.
  const std::vector<MazePoint>& waypoints() const { return waypoints_; }

 private:
  void plan(const MazePoint& position, MazeCell target, RandomStream& rng);

  Maze maze_;
  std::optional<MazeCell> target_;
  std::vector<MazePoint> waypoints_;
  size_t next_ = 0;
  MazePoint previous_ = {0.0, 0.0};
};

}  // namespace drop
