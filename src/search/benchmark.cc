#include "drop/search/benchmark.h"

#include <ATen/ATen.h>

#include "drop/search/ascent_engine.h"

namespace drop {

BenchmarkTimes benchmark_ascent(const Runtime& runtime, const AscentBenchmarkOptions& options) {
  const auto tensor_options = at::TensorOptions(runtime.device).dtype(at::kFloat);
  DropModel model(options.shape, tensor_options);
  RandomStream stream(0, "init");
  model.initialise(stream);
  const at::Tensor states =
      at::randn({options.num_states, options.shape.state_dim}, tensor_options);
  const at::Tensor starts = at::rand(
      {options.num_states, options.num_starts, options.shape.embedding_dim}, tensor_options);
  AscentOptions ascent;
  ascent.steps = options.ascent_steps;

  const std::unique_ptr<AscentEngine> engine =
      make_ascent_engine(options.engine, runtime.precision, model);
  return measure(options.plan, runtime.device, runtime.precision, [&](int64_t count) {
    AscentResult result;
    for (int64_t i = 0; i < count; ++i) result = engine->run(states, starts, ascent);
    result.scores.sum().item();  // waits for the device
  });
}

}  // namespace drop
