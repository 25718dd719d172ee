#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "drop/config/config.h"
#include "drop/data/sampler.h"
#include "drop/nn/drop_model.h"

namespace drop {

/// How far a fast engine is from its reference (the eager step engine, the autograd ascent), both
/// in float32 but for the fast one's products.
struct EngineCheck {
  std::string engine;  ///< "step fused", "ascent cpu", ...
  Precision precision = Precision::kFp32;
  /// Step engines: deviation of the first step's gradient, all terms at work, relative to its norm.
  /// Not for ascents.
  double gradient_deviation = 0.0;
  double gradient_bound = 0.0;
  /// Step engines: largest deviation of L_bc, L_td and C over the steps, each relative to its
  /// largest value. Ascent engines: mean deviation of end points' scores, relative to the scores'
  /// spread.
  double value_deviation = 0.0;
  double value_bound = 0.0;
  /// Step engines: distance between the two engines' weights at the end, as a share of the way that
  /// the reference's went. Ascent engines: the same of the end points.
  double way_deviation = 0.0;
  double way_bound = 0.0;

  bool passed() const {  // false as well when something is not a number
    return gradient_deviation <= gradient_bound && value_deviation <= value_bound &&
           way_deviation <= way_bound;
  }
};

/// Runs every engine and precision that this build and device have beside the reference: training
/// steps from the same start on the same batches, and ascents from the trained embeddings at given
/// states. In the first step, whose gradient is compared, the constraint acts (`projected`, lambda
/// 1) whatever the config says, so that all terms are. Throws Interrupted after a signal.
/// @param config   its train and search settings and its seed
/// @param sampler  draws the batches
/// @param states   [E, state_dim] standardised states for the ascents
std::vector<EngineCheck> check_engines(const ModelShape& shape, const Config& config,
                                       double reward_scale, const Sampler& sampler,
                                       const at::Tensor& states, at::Device device, int64_t steps);

/// A table for people, with what the columns mean.
std::string format_engine_checks(const std::vector<EngineCheck>& checks);

}  // namespace drop
