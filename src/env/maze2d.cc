#include "env/maze2d.h"

#include <algorithm>
#include <utility>

#include "env/tasks.h"

namespace drop {

namespace {

constexpr double kVelocityLimit = 5.0;
constexpr double kTimestep = 0.01;
constexpr double kBallStart = 1.2;  // the ball's place at qpos 0, along x and y

std::string maze2d_mjcf(const Maze& maze) {
  std::string walls;
  for (int i = 0; i < maze.rows(); ++i) {
    for (int j = 0; j < maze.columns(); ++j) {
      if (!maze.is_wall({i, j})) continue;
      walls += "<geom type=\"box\" conaffinity=\"1\" pos=\"" + std::to_string(i + 1) + " " +
               std::to_string(j + 1) + " 0\" size=\"0.5 0.5 0.2\"/>\n";
    }
  }
  return R"(<mujoco model="maze2d">
<compiler angle="radian" inertiafromgeom="true"/>
<option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler"/>
<default>
  <joint damping="1" limited="false"/>
  <geom friction="0.5 0.1 0.1" density="1000" margin="0.002" condim="1" contype="2"
        conaffinity="1"/>
</default>
<worldbody>
<geom type="plane" size="40 40 0.25" pos="0 0 -0.1" contype="1" conaffinity="0"/>
<body name="ball" pos="1.2 1.2 0">
  <geom type="sphere" size="0.1" contype="1"/>
  <joint name="ball_x" type="slide" axis="1 0 0"/>
  <joint name="ball_y" type="slide" axis="0 1 0"/>
</body>
)" + walls +
         R"(</worldbody>
<actuator>
<motor joint="ball_x" ctrllimited="true" ctrlrange="-1 1" gear="100"/>
<motor joint="ball_y" ctrllimited="true" ctrlrange="-1 1" gear="100"/>
</actuator>
</mujoco>)";
}

}  // namespace

Maze2dEnvironment::Maze2dEnvironment(Maze2dTask task)
    : MujocoEnvironment({task.name, 4, 2, task.time_limit, kTimestep},
                        compile_mjcf(maze2d_mjcf(task.maze), task.name)),
      task_(std::move(task)) {}

void Maze2dEnvironment::draw_start(RandomStream& rng, std::span<double> qpos,
                                   std::span<double> qvel) const {
  const MazePoint start = random_maze_point(task_.maze, rng);
  std::copy(start.begin(), start.end(), qpos.begin());
  for (double& v : qvel) v = 0.1 * rng.normal();
}

StepResult Maze2dEnvironment::advance(std::span<const double> action) {
  simulation().step_with_clipped_velocity(action, kVelocityLimit);
  StepResult result;
  result.reward = maze2d_reward(task_, {simulation().qpos()[0], simulation().qpos()[1]});
  return result;
}

void Maze2dEnvironment::write_observation(std::span<double> observation) const {
  const auto rest =
      std::copy(simulation().qpos().begin(), simulation().qpos().end(), observation.begin());
  std::copy(simulation().qvel().begin(), simulation().qvel().end(), rest);
}

std::optional<FloorPlan> Maze2dEnvironment::floor_plan() const {
  return maze_floor_plan(model(), {kBallStart, kBallStart}, centre_of(task_.maze.goal()));
}

FloorPlan maze_floor_plan(const mjModel& model, const MazePoint& origin, const MazePoint& goal) {
  FloorPlan plan;
  plan.goal = goal;
  for (int i = 0; i < model.ngeom; ++i) {
    if (model.geom_type[i] != mjGEOM_BOX) continue;
    const mjtNum* centre = model.geom_pos + 3 * i;
    const mjtNum* half = model.geom_size + 3 * i;
    plan.walls.push_back({centre[0] - origin[0], centre[1] - origin[1], half[0], half[1]});
  }
  return plan;
}

MazePoint random_maze_point(const Maze& maze, RandomStream& rng) {
  MazePoint point = centre_of(maze.open_cells()[rng.below(maze.open_cells().size())]);
  for (double& coordinate : point) coordinate += rng.uniform(-0.1, 0.1);
  return point;
}

void register_maze2d(EnvironmentRegistry& registry) {
  for (const std::string& name : maze2d_task_names()) {
    registry.add(name, [name](const EnvironmentOptions& options) {
      return std::make_unique<Maze2dEnvironment>(maze2d_task(name, options.dataset_id));
    });
  }
}

}  // namespace drop
