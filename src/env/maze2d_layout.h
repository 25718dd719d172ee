#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace drop {

/// A point of the plane, or a velocity: x, y.
using MazePoint = std::array<double, 2>;

/// A cell of a maze. Its row is x, its column y: "cell (i, j)" of goals, starts and plans is the
/// point (i, j) of qpos (D4RL facts, table 2.2).
struct MazeCell {
  int row = 0;
  int column = 0;
  bool operator==(const MazeCell&) const = default;
};

inline MazePoint centre_of(MazeCell cell) {
  return {static_cast<double>(cell.row), static_cast<double>(cell.column)};
}

/// Layout of a Maze2D: '#' wall, '.' free, 'G' the one goal.
class Maze {
 public:
  explicit Maze(std::vector<std::string> layout);

  int rows() const { return static_cast<int>(layout_.size()); }
  int columns() const { return static_cast<int>(layout_.front().size()); }
  /// Everything outside the layout is wall.
  bool is_wall(MazeCell cell) const;
  MazeCell goal() const { return open_cells_.back(); }
  /// Where starts and random targets are drawn: free cells by row and column, then the goal.
  const std::vector<MazeCell>& open_cells() const { return open_cells_; }

 private:
  std::vector<std::string> layout_;
  std::vector<MazeCell> open_cells_;
};

/// A Maze2D task of D4RL.
struct Maze2dTask {
  std::string name;
  Maze maze;
  bool dense = false;
  int64_t time_limit = 0;  ///< steps
};

/// Names of all tasks: maze2d-{,eval-}SIZE{,-dense}.
std::vector<std::string> maze2d_task_names();

/// Looks a task up; the data set's id decides between the time limits of D4RL's v0 and v1 (without
/// an id: v1). Throws UsageError for a name that is no Maze2D.
Maze2dTask maze2d_task(const std::string& name, const std::string& dataset_id = "");

/// Reward of being at `position`: dense exp(-distance to the goal), sparse 1 within 0.5.
double maze2d_reward(const Maze2dTask& task, const MazePoint& position);

}  // namespace drop
