#include "drop/train/multiplier.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "kernels/arithmetic.h"

namespace drop {

namespace {

using arithmetic::kLargestMultiplier;

constexpr double kSmallestInitial = 1e-12;  // `log` cannot start at zero

}  // namespace

Multiplier::Multiplier(MultiplierForm form, double initial, double rate, double threshold,
                       const at::TensorOptions& options)
    : form_(form), rate_(rate), threshold_(threshold) {
  const double start =
      form == MultiplierForm::kLog ? std::log(std::max(initial, kSmallestInitial)) : initial;
  parameter_ = at::full({}, start, options);
  if (form == MultiplierForm::kLog) adam_ = Adam(parameter_, rate);
}

at::Tensor Multiplier::value() const {
  // the logarithm of the cap, rounded, may lie above it
  return form_ == MultiplierForm::kLog ? at::exp(parameter_).clamp_max_(kLargestMultiplier)
                                       : parameter_.clone();
}

at::Tensor Multiplier::penalty(const at::Tensor& gap) const {
  const at::Tensor violation = gap - threshold_;
  return value() * (form_ == MultiplierForm::kHinge ? at::relu(violation) : violation);
}

void Multiplier::update(const at::Tensor& gap) {
  const at::NoGradGuard no_grad;
  const at::Tensor violation = gap.detach() - threshold_;
  if (form_ == MultiplierForm::kLog) {
    // ascent on exp(l) * (C - eta_c): Adam minimises, hence the sign
    adam_.step(-(value() * violation));
    parameter_.clamp_max_(std::log(kLargestMultiplier));
  } else {
    parameter_.add_(violation, rate_).clamp_(0.0, kLargestMultiplier);
  }
}

std::vector<std::pair<std::string, at::Tensor>> Multiplier::state() const {
  if (form_ != MultiplierForm::kLog) return {{"multiplier.parameter", parameter_}};
  return {{"multiplier.parameter", parameter_},
          {"adam.multiplier.exp_avg", adam_.exp_avg},
          {"adam.multiplier.exp_avg_sq", adam_.exp_avg_sq},
          {"adam.multiplier.step", adam_.step_count}};
}

}  // namespace drop
