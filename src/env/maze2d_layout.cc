#include "env/maze2d_layout.h"

#include <cmath>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/text.h"
#include "env/dataset_version.h"

namespace drop {

namespace {

struct NamedLayout {
  std::string size;
  int64_t time_limit_v0;
  int64_t time_limit;
  std::vector<std::string> rows;
};

// D4RL facts, tables 2.1 and 2.2 ("open" exists as v0 only, the eval layouts as v1 only)
const std::vector<NamedLayout>& named_layouts() {
  static const std::vector<NamedLayout> layouts = {
      {"open", 150, 150, {"#######", "#.....#", "#..G..#", "#.....#", "#######"}},
      {"umaze", 150, 300, {"#####", "#G..#", "###.#", "#...#", "#####"}},
      {"medium",
       250,
       600,
       {"########", "#..##..#", "#..#...#", "##...###", "#..#...#", "#.#..#.#", "#...#.G#",
        "########"}},
      {"large",
       600,
       800,
       {"############", "#....#.....#", "#.##.#.#.#.#", "#......#...#", "#.####.###.#",
        "#..#.#.....#", "##.#.#.#.###", "#..#...#.G.#", "############"}},
      {"eval-umaze", 300, 300, {"#####", "#..G#", "#.###", "#...#", "#####"}},
      {"eval-medium",
       600,
       600,
       {"########", "#.....G#", "#.#.##.#", "#....#.#", "###..###", "#......#", "#..##..#",
        "########"}},
      {"eval-large",
       800,
       800,
       {"############", "#..#...#.G.#", "##.###.#.#.#", "#..#.#.....#", "#.##.#..##.#",
        "#......#...#", "#.##.#.#.###", "#....#.....#", "############"}},
  };
  return layouts;
}

}  // namespace

Maze::Maze(std::vector<std::string> layout) : layout_(std::move(layout)) {
  std::vector<MazeCell> goals;
  for (int i = 0; i < rows(); ++i) {
    for (int j = 0; j < columns(); ++j) {
      const char tile = layout_[static_cast<size_t>(i)][static_cast<size_t>(j)];
      if (tile == '.') open_cells_.push_back({i, j});
      if (tile == 'G') goals.push_back({i, j});
    }
  }
  open_cells_.insert(open_cells_.end(), goals.begin(), goals.end());
}

bool Maze::is_wall(MazeCell cell) const {
  if (cell.row < 0 || cell.row >= rows() || cell.column < 0 || cell.column >= columns())
    return true;
  return layout_[static_cast<size_t>(cell.row)][static_cast<size_t>(cell.column)] == '#';
}

std::vector<std::string> maze2d_task_names() {
  std::vector<std::string> names;
  for (const NamedLayout& layout : named_layouts()) {
    names.push_back("maze2d-" + layout.size);
    names.push_back("maze2d-" + layout.size + "-dense");
  }
  return names;
}

Maze2dTask maze2d_task(const std::string& name, const std::string& dataset_id) {
  for (const NamedLayout& layout : named_layouts()) {
    const std::string sparse_name = "maze2d-" + layout.size;
    const bool dense = name == sparse_name + "-dense";
    if (!dense && name != sparse_name) continue;
    const bool is_v0 = dataset_version(name, dataset_id) == "v0";
    return {name, Maze(layout.rows), dense, is_v0 ? layout.time_limit_v0 : layout.time_limit};
  }
  throw UsageError("task \"" + name + "\" is no Maze2D; allowed: " + join(maze2d_task_names()));
}

double maze2d_reward(const Maze2dTask& task, const MazePoint& position) {
  const MazePoint goal = centre_of(task.maze.goal());
  const double x = position[0] - goal[0];
  const double y = position[1] - goal[1];
  const double distance = std::sqrt(x * x + y * y);
  if (task.dense) return std::exp(-distance);
  return distance <= 0.5 ? 1.0 : 0.0;
}

}  // namespace drop
