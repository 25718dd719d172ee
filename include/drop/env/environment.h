#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "drop/base/random.h"
#include "drop/config/config.h"

namespace drop {

/// A part of a task's state that lies outside qpos and qvel: AntMaze's goal, the place of Adroit's
/// door.
struct TaskVariable {
  std::string key;     ///< the array that holds it in D4RL's files: "infos/goal"
  int64_t size = 0;    ///< numbers
  bool moves = false;  ///< that array follows a moving thing: an episode's first row is the value
};

/// What a drawing of a maze from above needs, in the coordinates of qpos.
struct FloorPlan {
  std::vector<std::array<double, 4>> walls;  ///< boxes: centre x, y, half sizes along x, y
  std::array<double, 2> goal = {0.0, 0.0};
};

/// Fixed facts of a task.
struct TaskInfo {
  std::string name;  ///< D4RL's name without data kind and version: "hopper", "maze2d-umaze-dense"
  int64_t state_dim = 0;
  int64_t action_dim = 0;
  int64_t max_episode_steps = 0;
  double dt = 0.0;                           ///< simulated seconds of one step
  std::vector<TaskVariable> variables = {};  ///< what `task_state` consists of, in this order
};

/// When the last allowed step also ends the task, both flags are set.
struct StepResult {
  double reward = 0.0;
  bool terminated = false;  ///< the task ended the episode
  bool truncated = false;   ///< the time limit ended it
};

/// A task in MuJoCo. Not thread-safe: one object for each thread. Resets are explicit. RunError is
/// thrown for a step before the first reset or after an episode's end, for a span of a wrong size,
/// for an action or state that is not finite (the episode goes on after these two), and for physics
/// that run away (the episode is over).
class Environment {
 public:
  virtual ~Environment() = default;

  virtual const TaskInfo& info() const = 0;

  /// Draws a start state from `rng` and writes the observation [state_dim].
  virtual void reset(RandomStream& rng, std::span<double> observation) = 0;

  /// Applies an action [action_dim] (clipped to [-1, 1]) for one step and writes the new
  /// observation [state_dim].
  virtual StepResult step(std::span<const double> action, std::span<double> observation) = 0;

  /// The simulator's state: positions, then velocities. Setting it begins an episode there and
  /// writes the observation.
  virtual std::vector<double> qpos() const = 0;
  virtual std::vector<double> qvel() const = 0;
  virtual void set_state(std::span<const double> qpos, std::span<const double> qvel,
                         std::span<double> observation) = 0;

  /// Goes on behind the end of an episode, as recorded data may: the physics stay as they are and
  /// the clock begins anew. Only after a step; the default loses the solver's warm start.
  virtual void resume();

  /// The values of all of the task's variables, one after the other. `reset` draws them anew,
  /// `set_state` keeps them, `set_task_state` sets them for the episode that the next `set_state`
  /// begins. RunError for a span of another size.
  virtual std::vector<double> task_state() const { return {}; }
  virtual void set_task_state(std::span<const double> values);

  /// The task's variables as far as an observation tells them, for files that hold no arrays of
  /// them; empty when it does not.
  virtual std::optional<std::vector<double>> task_state_from(std::span<const double> qpos,
                                                             std::span<const double> observation);

  /// Of tasks in a maze, with the goal of the present episode; empty for all others.
  virtual std::optional<FloorPlan> floor_plan() const { return std::nullopt; }
};

/// What distinguishes two environments of one task.
struct EnvironmentOptions {
  Physics physics = Physics::kD4rl;
  std::string dataset_id;  ///< decides goals, limits where D4RL's versions differ; may be empty
};

using EnvironmentFactory =
    std::function<std::unique_ptr<Environment>(const EnvironmentOptions& options)>;

/// Name -> factory. A new task is one source file with a `void
/// register_NAME(EnvironmentRegistry&)`, declared in src/env/tasks.h and called in
/// src/env/registry.cc.
class EnvironmentRegistry {
 public:
  /// All tasks of this build.
  static const EnvironmentRegistry& instance();

  /// Throws UsageError when the name is taken.
  void add(const std::string& task, EnvironmentFactory factory);
  bool contains(const std::string& task) const;
  std::vector<std::string> names() const;
  /// Throws UsageError (with the nearest name and the list) for an unknown task.
  std::unique_ptr<Environment> make(const std::string& task,
                                    const EnvironmentOptions& options = {}) const;

 private:
  std::vector<std::pair<std::string, EnvironmentFactory>> factories_;
};

}  // namespace drop
