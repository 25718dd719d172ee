#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drop/data/hdf5.h"
#include "drop/deploy/evaluation_observer.h"
#include "drop/nn/checkpoint.h"

namespace drop {

/// Version of the trace's layout that this program writes.
inline constexpr int kTraceFormatVersion = 1;

/// Records evaluations step by step into an HDF5 file:
///
/// attributes (strings)  task, dataset, checkpoint, step, seed, format_version, commit
/// embeddings            [N, d] of all sub-tasks
/// subtask_return_mean   [N] raw returns, where the checkpoint lies in its run's folder
/// maze_walls            [W, 4] centre x, y and half sizes, in the coordinates of qpos: of mazes
/// goal                  [2] of mazes whose goal is the same in all episodes
/// RULE/episode_000/     one group for each episode of T steps:
///   states              [T + 1, state_dim] raw; qpos [T + 1, nq], qvel [T + 1, nv]
///   actions             [T, action_dim], rewards [T], terminated [T]: 1 where the task ended it
///   embeddings          [T, d] that acted, subtasks [T] that their search started from
///   scores              [T] f(s, beta(s,z), z) in raw reward units, as drop_infer's
///   task_state          [v] of tasks that have one (an AntMaze's goal)
///
/// Embeddings and scores are float32, sub-tasks and flags int64, all else float64: the actions
/// repeat the states exactly.
class TraceRecorder : public EvaluationObserver {
 public:
  /// Throws RunError when the file could not be written.
  /// @param checkpoint  path of the file that `trained` comes from
  /// @param seed        of the evaluation
  TraceRecorder(std::string path, const TrainedModel& trained, const std::string& checkpoint,
                int64_t seed);

  /// The rule of the evaluation that comes next; each rule at most once.
  void begin(InferenceRuleKind rule);
  void on_start(const VectorEnvironment& environments) override;
  void on_step(const EvaluationStep& step, const VectorEnvironment& environments) override;

  /// The file appears under its name. Without this call nothing is left behind.
  void close();

 private:
  struct Episode {
    std::vector<double> states, qpos, qvel, actions, rewards, task_state;
    std::vector<float> embeddings, scores;
    std::vector<int64_t> subtasks, terminated;
  };
  void write(int64_t index, const Episode& episode);

  Hdf5ResultWriter writer_;
  double reward_scale_;
  std::string rule_;
  bool begun_ = false;             // an evaluation has been seen
  std::vector<Episode> episodes_;  // of this evaluation
};

}  // namespace drop
