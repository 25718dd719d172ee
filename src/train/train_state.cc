#include "drop/train/train_state.h"

#include <algorithm>

namespace drop {

namespace {

// scores that large are about to overflow: a threshold beyond means never, or always
constexpr double kLargestThreshold = 1e12;

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
                 std::clamp(config.conservative_threshold * reward_scale, -kLargestThreshold,
                            kLargestThreshold),
                 options),
      seed(seed) {}

}  // namespace drop
