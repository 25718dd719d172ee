#include "env/antmaze.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/text.h"
#include "env/ant_model.h"
#include "env/dataset_version.h"
#include "env/maze2d.h"
#include "env/tasks.h"

namespace drop {

namespace {

constexpr double kCellSize = 4.0;
constexpr double kGoalRadius = 0.5;
constexpr MazeCell kStart = {1, 1};
constexpr int64_t kStateDim = 29;

struct NamedLayout {
  std::vector<std::string> tasks;
  int64_t time_limit;
  std::vector<std::string> rows;
};

// D4RL facts, tables 3.1 and 3.2
const std::vector<NamedLayout>& named_layouts() {
  static const std::vector<NamedLayout> layouts = {
      {{"antmaze-umaze", "antmaze-umaze-diverse"},
       700,
       {"#####", "#...#", "###.#", "#G..#", "#####"}},
      {{"antmaze-medium-play", "antmaze-medium-diverse"},
       1000,
       {"########", "#..##..#", "#..#...#", "##...###", "#..#...#", "#.#..#.#", "#...#.G#",
        "########"}},
      {{"antmaze-large-play", "antmaze-large-diverse"},
       1000,
       {"############", "#....#.....#", "#.##.#.#.#.#", "#......#...#", "#.####.###.#",
        "#..#.#.....#", "##.#.#.#.###", "#..#...#.G.#", "############"}},
  };
  return layouts;
}

std::string antmaze_mjcf(const Maze& maze, Physics physics) {
  std::string walls;
  for (int i = 0; i < maze.rows(); ++i) {
    for (int j = 0; j < maze.columns(); ++j) {
      if (!maze.is_wall({i, j})) continue;
      const MazePoint centre = antmaze_centre({i, j});
      walls += "<geom type=\"box\" conaffinity=\"1\" pos=\"" + shortest(centre[0]) + " " +
               shortest(centre[1]) + " 1\" size=\"2 2 1\"/>\n";
    }
  }
  return ant_mjcf(kMazeAnt, physics, walls);
}

TaskInfo info_of(const AntMazeTask& task, const mjModel& model) {
  TaskInfo info;
  info.name = task.name;
  info.state_dim = kStateDim;
  info.action_dim = model.nu;
  info.max_episode_steps = task.time_limit;
  info.dt = model.opt.timestep * kAntFrameSkip;
  info.variables = {{"infos/goal", 2}};
  return info;
}

// anywhere in the upper right of the cell, up to 1.5 from its centre
MazePoint draw_goal(const Maze& maze, RandomStream& rng) {
  MazePoint goal = antmaze_centre(maze.goal());
  for (double& coordinate : goal) {
    coordinate += rng.uniform(0.0, 1.0);
    coordinate = std::max(coordinate + rng.uniform(0.0, 0.5), 0.0);
  }
  return goal;
}

}  // namespace

std::vector<std::string> antmaze_task_names() {
  std::vector<std::string> names;
  for (const NamedLayout& layout : named_layouts()) {
    names.insert(names.end(), layout.tasks.begin(), layout.tasks.end());
  }
  return names;
}

AntMazeTask antmaze_task(const std::string& name, const std::string& dataset_id) {
  for (const NamedLayout& layout : named_layouts()) {
    if (std::find(layout.tasks.begin(), layout.tasks.end(), name) == layout.tasks.end()) continue;
    const std::string version = dataset_version(name, dataset_id);
    return {name, Maze(layout.rows), layout.time_limit, version == "v0" || version == "v1"};
  }
  throw UsageError("task \"" + name + "\" is no AntMaze; allowed: " + join(antmaze_task_names()));
}

MazePoint antmaze_centre(MazeCell cell) {
  return {kCellSize * (cell.column - kStart.column), kCellSize * (cell.row - kStart.row)};
}

AntMazeEnvironment::AntMazeEnvironment(AntMazeTask task, Physics physics)
    : AntMazeEnvironment(task, physics, compile_mjcf(antmaze_mjcf(task.maze, physics), task.name)) {
}

AntMazeEnvironment::AntMazeEnvironment(AntMazeTask task, Physics physics, MujocoModel model)
    : MujocoEnvironment(info_of(task, *model), model),
      task_(std::move(task)),
      physics_(physics),
      goal_(antmaze_centre(task_.maze.goal())),
      control_(static_cast<size_t>(info().action_dim)) {}

void AntMazeEnvironment::reset(RandomStream& rng, std::span<double> observation) {
  MujocoEnvironment::reset(rng, observation);
  if (task_.keeps_goal && has_goal_) return;
  goal_ = draw_goal(task_.maze, rng);
  has_goal_ = true;
}

void AntMazeEnvironment::set_task_state(std::span<const double> values) {
  if (values.size() != goal_.size()) {
    throw RunError(info().name + ": infos/goal has " + std::to_string(values.size()) +
                   " numbers, a goal has 2: x and y; pass a span of that size");
  }
  for (const double value : values) {
    if (std::isfinite(value)) continue;
    throw RunError(info().name + ": infos/goal holds " + shortest(value) +
                   ", only finite numbers are allowed; check what made it");
  }
  std::copy(values.begin(), values.end(), goal_.begin());
  has_goal_ = true;
}

std::optional<FloorPlan> AntMazeEnvironment::floor_plan() const {
  return maze_floor_plan(model(), {0.0, 0.0}, goal_);
}

void AntMazeEnvironment::draw_start(RandomStream& rng, std::span<double> qpos,
                                    std::span<double> qvel) const {
  draw_ant_start(rng, physics_, qpos, qvel);
}

StepResult AntMazeEnvironment::advance(std::span<const double> action) {
  std::transform(action.begin(), action.end(), control_.begin(),
                 [](double a) { return kMazeAnt.control_limit * a; });
  simulation().step(control_, kAntFrameSkip);
  const double x = simulation().qpos()[0] - goal_[0];
  const double y = simulation().qpos()[1] - goal_[1];
  StepResult result;
  result.terminated = std::sqrt(x * x + y * y) <= kGoalRadius;
  result.reward = result.terminated ? 1.0 : 0.0;
  return result;
}

void AntMazeEnvironment::write_observation(std::span<double> observation) const {
  const auto rest =
      std::copy(simulation().qpos().begin(), simulation().qpos().end(), observation.begin());
  std::copy(simulation().qvel().begin(), simulation().qvel().end(), rest);
}

void register_antmaze(EnvironmentRegistry& registry) {
  for (const std::string& name : antmaze_task_names()) {
    registry.add(name, [name](const EnvironmentOptions& options) {
      return std::make_unique<AntMazeEnvironment>(antmaze_task(name, options.dataset_id),
                                                  options.physics);
    });
  }
}

}  // namespace drop
