#include "drop/train/benchmark.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "drop/base/error.h"
#include "drop/base/random.h"
#include "drop/data/sampler.h"
#include "drop/train/step_engine.h"

namespace drop {

namespace {

// one sampler for each seed over the same random data: about 100,000 rows, one trajectory for each
// sub-task
std::vector<Sampler> random_samplers(const StepBenchmarkOptions& options, at::Device device) {
  constexpr int64_t kRows = 100000;
  const ModelShape& shape = options.shape;
  const int64_t length = std::max<int64_t>(100, kRows / shape.num_subtasks);
  TrajectoryDataset data;
  data.path = "random data";
  data.rows = length * shape.num_subtasks;
  data.state_dim = shape.state_dim;
  data.action_dim = shape.action_dim;
  RandomStream stream(0, "generate");
  const auto uniform = [&] { return static_cast<float>(stream.uniform(-1.0, 1.0)); };
  data.observations.resize(static_cast<size_t>(data.rows * shape.state_dim));
  data.actions.resize(static_cast<size_t>(data.rows * shape.action_dim));
  data.rewards.resize(static_cast<size_t>(data.rows));
  std::generate(data.observations.begin(), data.observations.end(), uniform);
  std::generate(data.actions.begin(), data.actions.end(), uniform);
  std::generate(data.rewards.begin(), data.rewards.end(), uniform);
  data.terminals.assign(static_cast<size_t>(data.rows), 0);

  std::vector<Trajectory> trajectories;
  Decomposition decomposition;
  for (int64_t n = 0; n < shape.num_subtasks; ++n) {
    trajectories.push_back({.begin = n * length, .end = (n + 1) * length});
    decomposition.subtasks.push_back({.trajectories = {n}, .transitions = length - 1});
  }
  const Normaliser normaliser = fit_normaliser(data.observations, shape.state_dim);
  const auto table = std::make_shared<const TransitionTable>(std::move(data), normaliser,
                                                             RewardTransform(), device);
  std::vector<Sampler> samplers;
  for (int64_t seed = 0; seed < options.num_seeds; ++seed) {
    samplers.emplace_back(
        table, trajectories, decomposition,
        SamplerOptions{.batch_size = options.batch_size, .seed = static_cast<uint64_t>(seed)});
  }
  return samplers;
}

}  // namespace

BenchmarkTimes benchmark_step(const Runtime& runtime, const StepBenchmarkOptions& options) {
  // lambda stays at 1 all along; small steps keep the networks near their start for as long as it
  // may take
  TrainConfig config;
  config.batch_size = options.batch_size;
  config.learning_rate = 1e-6;
  config.multiplier =
      options.constraint_active ? MultiplierForm::kProjected : MultiplierForm::kHinge;
  config.conservative_threshold = options.constraint_active ? 0.0 : 1e6;
  config.multiplier_initial = 1.0;
  config.multiplier_rate = 1e-12;

  const std::vector<Sampler> samplers = random_samplers(options, runtime.device);
  std::vector<TrainState> states;
  states.reserve(samplers.size());  // the engine points at them
  std::vector<SeedRun> seeds;
  for (const Sampler& sampler : samplers) {
    states.emplace_back(options.shape, config, /*reward_scale=*/1.0, /*seed=*/states.size(),
                        at::TensorOptions(runtime.device).dtype(at::kFloat));
    seeds.push_back({&states.back(), &sampler});
  }
  const std::unique_ptr<StepEngine> engine =
      make_step_engine(options.engine, runtime.precision, seeds, config);
  BenchmarkTimes times =
      measure(options.plan, runtime.device, runtime.precision, [&](int64_t count) {
        engine->advance(count);
        engine->metrics();  // waits for the device
      });
  if (const auto bad = engine->first_bad_step()) {
    throw RunError("the losses of step " + std::to_string(bad->step) +
                   " on random data are not finite, so their times mean nothing; run drop_doctor");
  }
  return times;
}

}  // namespace drop
