#include "env/maze2d_planner.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace drop {

namespace {

constexpr int kSweeps = 50;
constexpr double kDiscount = 0.99;
constexpr int kLongestWalk = 100;
constexpr double kNear = 0.1;
constexpr double kProportionalGain = 10.0;
constexpr double kDampingGain = 1.0;

// in the order in which ties are broken
constexpr std::array<MazeCell, 5> kMoves = {{{0, 0}, {0, -1}, {0, 1}, {-1, 0}, {1, 0}}};

// a move into a wall leaves the cell as it is
MazeCell after(const Maze& maze, MazeCell cell, MazeCell move) {
  const MazeCell next = {cell.row + move.row, cell.column + move.column};
  return maze.is_wall(next) ? cell : next;
}

double distance(const MazePoint& a, const MazePoint& b) {
  const double x = a[0] - b[0];
  const double y = a[1] - b[1];
  return std::sqrt(x * x + y * y);
}

}  // namespace

std::vector<MazeCell> plan_maze_path(const Maze& maze, MazeCell start, MazeCell target) {
  const auto index = [&](MazeCell cell) {
    return static_cast<size_t>(cell.row) * static_cast<size_t>(maze.columns()) +
           static_cast<size_t>(cell.column);
  };

  // value of a cell = best of its five actions; all start at 0
  const auto cells = static_cast<size_t>(maze.rows()) * static_cast<size_t>(maze.columns());
  std::vector<double> values(cells, 0.0);
  std::vector<double> previous(cells, 0.0);
  const auto action_value = [&](MazeCell cell, MazeCell move) {
    return (cell == target ? 1.0 : 0.0) + kDiscount * previous[index(after(maze, cell, move))];
  };
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    previous.swap(values);
    for (int i = 0; i < maze.rows(); ++i) {
      for (int j = 0; j < maze.columns(); ++j) {
        double best = 0.0;
        for (const MazeCell move : kMoves) best = std::max(best, action_value({i, j}, move));
        values[index({i, j})] = best;
      }
    }
  }

  // greedy walk on the action values of the last sweep
  std::vector<MazeCell> path;
  MazeCell cell = start;
  for (int step = 0; step < kLongestWalk; ++step) {
    const auto best = std::max_element(kMoves.begin(), kMoves.end(), [&](MazeCell a, MazeCell b) {
      return action_value(cell, a) < action_value(cell, b);
    });
    cell = after(maze, cell, *best);
    path.push_back(cell);
    if (cell == target) break;
  }
  return path;
}

MazeCell maze_cell_of(const MazePoint& position) {
  return {static_cast<int>(std::nearbyint(position[0])),
          static_cast<int>(std::nearbyint(position[1]))};
}

void WaypointController::plan(const MazePoint& position, MazeCell target, RandomStream& rng) {
  const MazeCell start = maze_cell_of(position);
  waypoints_.clear();
  for (const MazeCell cell : plan_maze_path(maze_, start, target)) {
    MazePoint waypoint = centre_of(cell);
    if (cell != target) {
      for (double& coordinate : waypoint) coordinate -= 0.2 * rng.uniform();
    }
    waypoints_.push_back(waypoint);
  }
  next_ = 0;
  target_ = target;
  // the first displacement of a plan is measured from the start's cell
  previous_ = centre_of(start);
}

WaypointController::Decision WaypointController::act(const MazePoint& position,
                                                     const MazePoint& velocity,
                                                     const MazePoint& target, RandomStream& rng) {
  const MazeCell target_cell = maze_cell_of(target);
  if (target_ != target_cell) plan(position, target_cell, rng);

  // the target counts as reached at its cell's point, not at the target itself
  const MazePoint end = centre_of(target_cell);
  const bool is_slow = distance(previous_, position) < kNear;
  const bool reached = is_slow && distance(position, end) < kNear;
  const MazePoint aim = reached ? end : waypoints_[next_];
  previous_ = position;

  // the next way-point from the next step on; the last one is the end and stays
  if (!reached && is_slow && distance(position, aim) < kNear && next_ + 1 < waypoints_.size()) {
    ++next_;
  }

  Decision decision;
  decision.reached = reached;
  for (size_t i = 0; i < 2; ++i) {
    decision.action[i] = std::clamp(
        kProportionalGain * (aim[i] - position[i]) - kDampingGain * velocity[i], -1.0, 1.0);
  }
  return decision;
}

}  // namespace drop
