#pragma once

#include <ATen/core/Tensor.h>

namespace drop {

/// How well this machine computes: largest deviations of a small model's arithmetic.
struct SelfCheck {
  double forward = 0.0;   ///< float32 scores against float64, relative to their largest value
  double gradient = 0.0;  ///< float64 z-gradient against central differences, the same
  bool passed = false;
};

/// Runs a small forward and backward pass on the device.
SelfCheck run_self_check(at::Device device);

}  // namespace drop
