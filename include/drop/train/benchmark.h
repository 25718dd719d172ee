#pragma once

#include "drop/kernels/benchmark.h"
#include "drop/nn/drop_model.h"
#include "drop/nn/runtime.h"

namespace drop {

/// One training step to be timed; the defaults are the paper's sizes.
struct StepBenchmarkOptions {
  StepEngineKind engine = StepEngineKind::kEager;
  ModelShape shape = {.state_dim = 11, .action_dim = 3, .num_subtasks = 100};
  int64_t batch_size = 1024;
  int64_t num_seeds = 1;  ///< trained at once; a step is one of each
  /// true: the conservative term always sends gradients (the whole work); false: the constraint is
  /// satisfied and sends none, which an engine may use.
  bool constraint_active = true;
  BenchmarkPlan plan;
};

/// Times training steps on random data in memory: sampling, losses, gradients, Adam, multiplier and
/// target network. Throws UsageError for an engine that this build or machine lacks.
BenchmarkTimes benchmark_step(const Runtime& runtime, const StepBenchmarkOptions& options);

}  // namespace drop
