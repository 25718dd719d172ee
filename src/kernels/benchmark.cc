#include "drop/kernels/benchmark.h"

#include <algorithm>
#include <cmath>

#include "drop/base/timing.h"
#include "kernels/peak.h"

namespace drop {

BenchmarkTimes measure(const BenchmarkPlan& plan, c10::Device device, Precision precision,
                       const std::function<void(int64_t)>& run) {
  // warm up, then ask for more and more until the time says how many steps fill a repetition
  run(1);
  BenchmarkTimes times;
  times.steps = std::max<int64_t>(1, plan.steps);
  if (plan.steps == 0) {
    double probe_s = seconds_of([&] { run(times.steps); });
    while (probe_s < plan.repetition_s / 4) {
      times.steps *= 2;
      probe_s = seconds_of([&] { run(times.steps); });
    }
    times.steps = std::max<int64_t>(
        1, std::llround(static_cast<double>(times.steps) * plan.repetition_s / probe_s));
  }
  for (int64_t repetition = 0; repetition < plan.repetitions; ++repetition) {
    if (plan.peak) {
      times.peak_flops_per_s = std::max(times.peak_flops_per_s, peak_flops(device, precision));
    }
    times.seconds.push_back(seconds_of([&] { run(times.steps); }) /
                            static_cast<double>(times.steps));
  }
  return times;
}

}  // namespace drop
