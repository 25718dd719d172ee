#pragma once

#include "drop/kernels/benchmark.h"
#include "drop/nn/drop_model.h"
#include "drop/nn/runtime.h"

namespace drop {

/// One gradient ascent to be timed; the defaults are the paper's sizes.
struct AscentBenchmarkOptions {
  AscentEngineKind engine = AscentEngineKind::kAutograd;
  ModelShape shape = {.state_dim = 11, .action_dim = 3, .num_subtasks = 100};
  int64_t num_states = 1;
  int64_t num_starts = 100;
  int64_t ascent_steps = 100;
  BenchmarkPlan plan;
};

/// Times ascents of an untrained model at random states; a "step" of the times is one whole ascent
/// of all starts at all states. Throws UsageError for an engine that this build or machine lacks.
BenchmarkTimes benchmark_ascent(const Runtime& runtime, const AscentBenchmarkOptions& options);

}  // namespace drop
