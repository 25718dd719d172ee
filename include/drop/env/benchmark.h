#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drop/env/environment.h"

namespace drop {

/// What `benchmark_environment` runs.
struct EnvBenchmarkOptions {
  std::string task = "hopper";
  EnvironmentOptions environment;
  int64_t num_envs = 16;
  int64_t threads = 1;         ///< 0 = all cores
  int64_t repetitions = 7;     ///< timed ones, after one that warms up
  double repetition_s = 0.25;  ///< about; decides the steps of a repetition
};

/// Times of the same trajectories, run by a task's environments and by bare MuJoCo.
struct EnvBenchmark {
  int64_t steps = 0;          ///< environment steps of one repetition, all environments
  int64_t physics_steps = 0;  ///< calls of mj_step in one environment step
  int64_t threads = 0;
  std::vector<double> drop_s;     ///< seconds of each repetition through VectorEnvironment
  std::vector<double> mj_step_s;  ///< seconds of each repetition in bare calls
};

/// Steps environments with uniform random actions, and beside it, repetition by repetition, the
/// same trajectories in bare MuJoCo: per environment step the controls are written and mj_step is
/// called as often as the task does; at an episode's end mj_resetData, the recorded start state and
/// mj_forward. What is missing there is all that makes an environment: observations, rewards, ends,
/// checks, random starts, lockstep. The bare threads each run their share without waiting.
EnvBenchmark benchmark_environment(const EnvBenchmarkOptions& options);

}  // namespace drop
