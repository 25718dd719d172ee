#include "drop/deploy/coms_policy.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "drop/nn/runtime.h"

namespace drop {

ComsPolicy::ComsPolicy(BatchedMlp form, const at::Tensor& weights, const Normaliser& normaliser)
    : form_(std::move(form)),
      weights_(weights.detach().unsqueeze(0)),
      state_mean_(at::tensor(normaliser.mean, at::kFloat).to(weights.options())),
      state_std_(at::tensor(normaliser.std, at::kFloat).to(weights.options())) {}

std::vector<double> ComsPolicy::act(std::span<const int64_t> episodes,
                                    std::span<const double> states) {
  const at::NoGradGuard no_grad;
  const FullPrecision full;
  const auto count = static_cast<int64_t>(episodes.size());
  const std::vector<double> copy(states.begin(), states.end());
  const at::Tensor raw =
      at::tensor(copy, at::kDouble).view({1, count, state_dim()}).to(weights_.options());
  const at::Tensor actions = form_.forward(weights_, (raw - state_mean_) / state_std_)
                                 .to(at::kCPU, at::kDouble)
                                 .contiguous();
  return {actions.data_ptr<double>(), actions.data_ptr<double>() + actions.numel()};
}

}  // namespace drop
