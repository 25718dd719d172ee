#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "drop/config/config.h"
#include "drop/train/adam.h"

namespace drop {

/// The Lagrange multiplier lambda of the constraint C <= eta_c (docs/algorithm.md, step 5; paper,
/// Appendix D), in one of three forms. All values are scaled reward units, on the training device.
class Multiplier {
 public:
  /// @param threshold  eta_c times the reward scale
  Multiplier(MultiplierForm form, double initial, double rate, double threshold,
             const at::TensorOptions& options);

  /// lambda, a scalar.
  at::Tensor value() const;

  /// What f minimises beside L_td: lambda * max(C - eta_c, 0) for `hinge`, else lambda * (C -
  /// eta_c).
  at::Tensor penalty(const at::Tensor& gap) const;

  /// One dual step from the gap of this step: projected ascent, or Adam on log lambda.
  void update(const at::Tensor& gap);

  /// lambda itself, or its logarithm (`log`): the tensor that `update` changes.
  const at::Tensor& parameter() const { return parameter_; }
  /// Adam over the parameter (`log` only; undefined tensors otherwise).
  const Adam& adam() const { return adam_; }
  double threshold() const { return threshold_; }

  /// Name and tensor of everything that a resumed run needs to continue exactly; the tensors share
  /// memory with this object, so that copying into them restores it.
  std::vector<std::pair<std::string, at::Tensor>> state() const;

 private:
  MultiplierForm form_;
  double rate_;
  double threshold_;
  at::Tensor parameter_;  // lambda, or its logarithm
  Adam adam_;             // `log` only
};

}  // namespace drop
