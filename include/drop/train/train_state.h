#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "drop/config/config.h"
#include "drop/nn/drop_model.h"
#include "drop/train/adam.h"
#include "drop/train/multiplier.h"

namespace drop {

/// Everything that training changes: what a checkpoint pair must hold to continue exactly.
struct TrainState {
  /// Fresh state: networks initialised from the stream "init". The constraint's threshold, in
  /// scaled units, is clipped to +-1e12.
  TrainState(const ModelShape& shape, const TrainConfig& config, double reward_scale, uint64_t seed,
             const at::TensorOptions& options);

  DropModel model;
  Adam adam;  ///< over model.parameters(): phi, beta and f step together, each as by its own Adam
  Multiplier multiplier;
  int64_t step = 0;  ///< steps done
  uint64_t seed = 0;
};

}  // namespace drop
