#include "drop/train/adam.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "kernels/arithmetic.h"

namespace drop {

Adam::Adam(const at::Tensor& parameters, double learning_rate)
    : exp_avg(at::zeros_like(parameters)),
      exp_avg_sq(at::zeros_like(parameters)),
      step_count(at::zeros({}, parameters.options().dtype(at::kFloat))),
      parameters_(parameters),
      learning_rate_(learning_rate) {}

void Adam::step(const at::Tensor& gradients) {
  const at::NoGradGuard no_grad;
  step_count.add_(1);
  at::_fused_adam_({parameters_}, {gradients}, {exp_avg}, {exp_avg_sq}, /*max_exp_avg_sqs=*/{},
                   {step_count}, learning_rate_, arithmetic::kBeta1, arithmetic::kBeta2,
                   /*weight_decay=*/0.0, arithmetic::kEpsilon,
                   /*amsgrad=*/false,
                   /*maximize=*/false);
}

}  // namespace drop
