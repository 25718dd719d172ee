#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "drop/nn/parameter_buffer.h"

namespace drop {

/// What stands behind the last layer of an encoder; all earlier layers end in ReLU.
enum class OutputForm { kRelu, kLinear, kTanh };

/// A chain of linear layers whose parameters live in a ParameterBuffer as `PREFIX.{0,1,...}`.
class Encoder {
 public:
  Encoder() = default;
  Encoder(const ParameterBuffer& parameters, const std::string& prefix, OutputForm output);

  /// [..., in] -> [..., out]
  at::Tensor forward(const at::Tensor& input) const;

  /// The rest of the chain behind the first layer's product: relu(first) -> ... -> output.
  at::Tensor forward_from_first(const at::Tensor& first) const;

  const at::Tensor& first_weight() const { return weights_.front(); }
  const at::Tensor& first_bias() const { return biases_.front(); }

  /// Parameter specs of such a chain: sizes {in, hidden..., out}.
  static void append_specs(std::vector<ParameterSpec>& specs, const std::string& prefix,
                           const std::vector<int64_t>& sizes);

 private:
  std::vector<at::Tensor> weights_;  // [out, in] each
  std::vector<at::Tensor> biases_;
  OutputForm output_ = OutputForm::kLinear;
};

/// An encoder of two inputs [x, y], concatenated in this order. The first layer's product is split,
/// so that the part that depends on x alone is computed once and shared by many y.
class JoinedEncoder {
 public:
  JoinedEncoder() = default;
  /// @param x_dim  width of x; the rest of the first layer's input is y
  JoinedEncoder(const ParameterBuffer& parameters, const std::string& prefix, int64_t x_dim,
                OutputForm output);

  /// x's share of the first layer, bias included: [..., x_dim] -> [..., width]
  at::Tensor project(const at::Tensor& x) const;

  /// @param projected  from `project`; broadcasts against y's leading axes
  at::Tensor forward(const at::Tensor& projected, const at::Tensor& y) const;

 private:
  Encoder encoder_;
  int64_t x_dim_ = 0;
};

}  // namespace drop
