#include "drop/train/step_engine.h"

#include <ATen/ATen.h>

#include "drop/base/error.h"
#include "train/eager_step_engine.h"

namespace drop {

namespace {

DropModel initialised(const ModelShape& shape, uint64_t seed, const at::TensorOptions& options) {
  DropModel model(shape, options);
  RandomStream stream(seed, "init");
  model.initialise(stream);
  return model;
}

}  // namespace

TrainState::TrainState(const ModelShape& shape, const TrainConfig& config, double reward_scale,
                       uint64_t seed, const at::TensorOptions& options)
    : model(initialised(shape, seed, options)),
      adam(model.parameters().flat(), config.learning_rate),
      multiplier(config.multiplier, config.initial_multiplier(), config.multiplier_rate,
                 config.conservative_threshold * reward_scale, options),
      seed(seed) {}

std::unique_ptr<StepEngine> make_step_engine(StepEngineKind kind, TrainState& state,
                                             const Sampler& sampler, const TrainConfig& config) {
  if (kind == StepEngineKind::kAuto || kind == StepEngineKind::kEager) {
    return std::make_unique<EagerStepEngine>(state, &sampler, config);
  }
  throw UsageError("train.engine: found " + to_string(kind) +
                   "; allowed in this version: auto, eager");
}

at::Tensor draw_uniform_z(uint64_t seed, int64_t step, int64_t batch_size, int64_t embedding_dim,
                          const at::TensorOptions& options) {
  RandomStream stream(seed, "z_u", static_cast<uint64_t>(step));
  std::vector<float> values(static_cast<size_t>(batch_size * embedding_dim));
  // 24 bits onto [-1, 1)
  for (float& value : values)
    value = static_cast<float>(stream.next_u32() >> 8) * 0x1.0p-23f - 1.0f;
  return at::from_blob(values.data(), {batch_size, embedding_dim}, at::kFloat)
      .to(options, false, true);
}

}  // namespace drop
