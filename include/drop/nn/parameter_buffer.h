#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace drop {

/// Name and shape of one parameter tensor.
struct ParameterSpec {
  std::string name;  ///< as in the checkpoint, e.g. "policy.state_encoder.0.weight"
  std::vector<int64_t> shape;
  int64_t fan_in = 0;  ///< inputs of its layer, for the initialisation; 0 = starts at zero
};

/// All parameters of a group of networks in one flat tensor [P], with a view of the right shape for
/// each name. One flat buffer makes Adam, the soft update of the target network and the fused
/// engines' passes over memory one.
class ParameterBuffer {
 public:
  ParameterBuffer() = default;
  ParameterBuffer(std::vector<ParameterSpec> specs, const at::TensorOptions& options);

  const std::vector<ParameterSpec>& specs() const { return specs_; }
  const at::Tensor& flat() const { return flat_; }
  /// Views in the order of `specs`; they share memory with `flat` and are autograd leaves.
  const std::vector<at::Tensor>& views() const { return views_; }
  /// Throws std::out_of_range for an unknown name.
  const at::Tensor& view(std::string_view name) const;
  bool contains(std::string_view name) const;
  /// Place of a parameter's first element in `flat`. Throws std::out_of_range.
  int64_t offset(std::string_view name) const;
  const ParameterSpec& spec(std::string_view name) const;

  /// The contiguous part of `flat` that holds the parameters whose names begin with `prefix`.
  at::Tensor segment(std::string_view prefix) const;

  /// A buffer of zeros of the same layout (gradients, Adam moments).
  ParameterBuffer like() const;

  /// Turns the views into leaves that collect their gradients in `gradients`' views.
  void collect_gradients_in(const ParameterBuffer& gradients);

 private:
  size_t index(std::string_view name) const;

  std::vector<ParameterSpec> specs_;
  std::vector<int64_t> offsets_;  // [specs + 1]
  at::Tensor flat_;
  std::vector<at::Tensor> views_;
};

}  // namespace drop
