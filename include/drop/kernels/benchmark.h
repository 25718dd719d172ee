#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "drop/config/config.h"

namespace drop {

/// How long an engine is measured.
struct BenchmarkPlan {
  int64_t repetitions = 7;     ///< timed ones, after a warm-up
  double repetition_s = 0.25;  ///< about; decides the steps of a repetition
  int64_t steps = 0;           ///< steps of a repetition; 0 = as many as repetition_s holds
  bool peak = true;            ///< measure the machine's own best as well
};

/// What was measured.
struct BenchmarkTimes {
  int64_t steps = 0;            ///< of one repetition
  std::vector<double> seconds;  ///< of one step, for each repetition
  double peak_flops_per_s = 0;  ///< best large product between the repetitions; 0 = not measured
};

/// Times `run(count)`, which carries out `count` steps and returns when they are done. The
/// machine's peak in this precision is measured in turns with it, so that a busy machine slows
/// both.
BenchmarkTimes measure(const BenchmarkPlan& plan, c10::Device device, Precision precision,
                       const std::function<void(int64_t)>& run);

}  // namespace drop
