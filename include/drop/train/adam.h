#pragma once

#include <ATen/core/Tensor.h>

namespace drop {

/// Adam (Kingma and Ba) over one flat tensor: beta 0.9 and 0.999, epsilon 1e-8 added outside the
/// root, no weight decay. The step count is a tensor on the device.
class Adam {
 public:
  Adam() = default;
  Adam(const at::Tensor& parameters, double learning_rate);

  /// Updates the parameters in place from gradients of the same shape.
  void step(const at::Tensor& gradients);

  at::Tensor exp_avg;     ///< first moment
  at::Tensor exp_avg_sq;  ///< second moment
  at::Tensor step_count;  ///< float32 scalar

 private:
  at::Tensor parameters_;
  double learning_rate_ = 0.0;
};

}  // namespace drop
