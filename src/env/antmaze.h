#pragma once

#include "env/maze2d_layout.h"
#include "env/mujoco_environment.h"

namespace drop {

/// An AntMaze task of D4RL (facts, section 3). "play" and "diverse" differ in their data only.
struct AntMazeTask {
  std::string name;
  Maze maze;
  int64_t time_limit = 0;   ///< steps
  bool keeps_goal = false;  ///< one goal for all episodes of an environment (v0 and v1)
};

/// Names of all tasks: antmaze-umaze, antmaze-umaze-diverse, antmaze-medium-play, ...
std::vector<std::string> antmaze_task_names();

/// Looks a task up; the data set's id decides between the goals of v0 or v1 and of v2 (without an
/// id: v2). Throws UsageError for a name that is no AntMaze.
AntMazeTask antmaze_task(const std::string& name, const std::string& dataset_id = "");

/// Centre of a cell: 4 m apart, columns along x, rows along y, the start's cell at the origin.
MazePoint antmaze_centre(MazeCell cell);

/// The ant in a maze: observation qpos [15], qvel [14] (the goal is not observed), action [-1, 1]
/// for each motor. Reward 1 and the end of the episode within 0.5 of the goal, else 0; no end by
/// falling.
///
/// The goal is the task's variable. v2: each reset draws it. v0 and v1: the first reset draws it
/// and later ones keep it (D4RL draws it when the environment is made, but ours have no random
/// numbers before the first reset); a goal set by `set_task_state` is kept likewise. So episodes
/// that have an environment each have a goal each in all versions. Before the first reset the goal
/// is its cell's centre. `set_task_state` acts at once.
class AntMazeEnvironment final : public MujocoEnvironment {
 public:
  AntMazeEnvironment(AntMazeTask task, Physics physics);

  const AntMazeTask& task() const { return task_; }

  void reset(RandomStream& rng, std::span<double> observation) override;
  std::vector<double> task_state() const override { return {goal_.begin(), goal_.end()}; }
  void set_task_state(std::span<const double> values) override;
  std::optional<FloorPlan> floor_plan() const override;

 private:
  AntMazeEnvironment(AntMazeTask task, Physics physics, MujocoModel model);

  void draw_start(RandomStream& rng, std::span<double> qpos, std::span<double> qvel) const override;
  StepResult advance(std::span<const double> action) override;
  void write_observation(std::span<double> observation) const override;

  AntMazeTask task_;
  Physics physics_;
  MazePoint goal_;
  bool has_goal_ = false;  // drawn or set
  std::vector<double> control_;
};

}  // namespace drop
