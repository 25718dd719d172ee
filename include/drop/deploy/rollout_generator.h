#pragma once

#include <cstdint>
#include <string>

#include "drop/config/config.h"
#include "drop/env/environment.h"
#include "drop/nn/checkpoint.h"

namespace drop {

/// How a trained model makes data.
struct RolloutOptions {
  InferenceRuleKind rule = InferenceRuleKind::kBest;
  SearchConfig search;
  EnvironmentOptions environment;
  int64_t episodes = 100;
  uint64_t seed = 0;
  double noise = 0.0;       ///< standard deviation of normal noise on the actions, before the clip
  double epsilon = 0.0;     ///< share of steps whose action is uniform in [-1, 1] instead
  int64_t env_threads = 0;  ///< 0 = all cores; changes nothing but the speed
  std::string policy_file;  ///< named in the file's attributes
  bool quiet = false;       ///< no progress
};

/// What was written.
struct RolloutSummary {
  int64_t rows = 0;
  double return_mean = 0.0;
  double return_std = 0.0;  ///< population, over episodes
};

/// Rolls a model out in its task and writes whole episodes in D4RL's layout: observations, actions,
/// rewards, terminals, timeouts, infos/qpos, infos/qvel, and the task's variables (an AntMaze's
/// infos/goal), with provenance attributes. infos are float64 and the physics used the float32
/// actions of the file, so that `drop_data replay` repeats it. In AntMaze and Adroit, whose
/// episodes D4RL ends by timeouts, every episode's last row has one, a terminal row too. Episode i
/// starts from the stream (seed, "env", i). Throws UsageError for an unknown task or a model that
/// does not fit, RunError when the file cannot be written, Interrupted after a signal (no file is
/// left then).
RolloutSummary generate_rollouts(const TrainedModel& trained, const RolloutOptions& options,
                                 const std::string& path);

}  // namespace drop
