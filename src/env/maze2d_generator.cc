#include "drop/env/maze2d_generator.h"

#include <mujoco/mujoco.h>

#include <algorithm>
#include <array>
#include <limits>

#include "drop/base/error.h"
#include "drop/base/signals.h"
#include "drop/base/system_report.h"
#include "drop/data/d4rl_file.h"
#include "drop/log/progress.h"
#include "env/maze2d.h"
#include "env/maze2d_planner.h"

namespace drop {

namespace {

constexpr int64_t kRowsBetweenReports = 1000;

}  // namespace

void generate_maze2d(const Maze2dGeneratorOptions& options, const std::string& path) {
  const Maze2dTask task = maze2d_task(options.task);
  if (options.rows < 1) {
    throw UsageError("rows = " + std::to_string(options.rows) +
                     " found, at least 1 is allowed; ask for more rows");
  }

  // one continuous trajectory: the environment's own clock never ends it
  Maze2dTask endless = task;
  endless.time_limit = std::numeric_limits<int64_t>::max();
  Maze2dEnvironment environment(std::move(endless));
  WaypointController controller(task.maze);
  RandomStream rng(options.seed, "generate");

  // provenance
  D4rlWriter writer(path, 4, 2, {{"infos/goal", 2}, {"infos/qpos", 2}, {"infos/qvel", 2}},
                    {"infos/qpos", "infos/qvel"});
  writer.set_attribute("generator", "way-point controller to random targets, as D4RL's Maze2D");
  writer.set_attribute("task", options.task);
  writer.set_attribute("seed", static_cast<int64_t>(options.seed));
  writer.set_attribute("action_noise", options.action_noise);
  writer.set_attribute("mujoco_version", std::string(mj_versionString()));
  writer.set_attribute("drop_version", project_version());

  Progress progress("generate " + options.task, options.rows, options.quiet);
  MazePoint target = random_maze_point(task.maze, rng);
  std::array<double, 4> observation{};
  std::array<double, 4> next{};
  environment.reset(rng, observation);
  int64_t steps_to_target = 0;
  for (int64_t row = 0; row < options.rows; ++row) {
    // the action is rounded as the file will hold it, so that a replay repeats the physics
    auto [action, done] = controller.act({observation[0], observation[1]},
                                         {observation[2], observation[3]}, target, rng);
    for (double& a : action) {
      if (options.action_noise > 0.0) a += options.action_noise * rng.normal();
      a = as_float32(std::clamp(a, -1.0, 1.0));
    }
    // a target that takes too long is given up
    done = done || steps_to_target >= task.time_limit;

    // the reward belongs to this row's observation and to the fixed goal of evaluation, not to the
    // controller's target; qpos and qvel are the simulator's own
    const std::vector<double> qpos = environment.qpos();
    const std::vector<double> qvel = environment.qvel();
    const double reward =
        maze2d_reward(task, {as_float32(observation[0]), as_float32(observation[1])});
    const std::array<double, 6> infos = {target[0], target[1], qpos[0], qpos[1], qvel[0], qvel[1]};
    writer.append(observation, action, reward, false, done, infos);

    // D4RL's script keeps the old observation for one more row when the target changes, while the
    // physics goes on
    environment.step(action, next);
    ++steps_to_target;
    if (done) {
      target = random_maze_point(task.maze, rng);
      steps_to_target = 0;
    } else {
      observation = next;
    }

    if ((row + 1) % kRowsBetweenReports == 0) {
      progress.update(row + 1);
      if (stop_requested()) {
        throw Interrupted("stopped by a signal after " + std::to_string(row + 1) + " of " +
                          std::to_string(options.rows) + " rows; " + path +
                          " was not written, run the command again");
      }
    }
  }
  progress.finish();
  writer.close();
}

}  // namespace drop
