#include "train/eager_step_engine.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

namespace drop {

EagerStepEngine::EagerStepEngine(TrainState& state, const Sampler* sampler,
                                 const TrainConfig& config)
    : state_(state),
      sampler_(sampler),
      settings_{config.score, config.discount, config.conservative, config.td_updates_embedding},
      conservative_(config.score && config.conservative),
      target_rate_(config.target_rate),
      gradients_(state.model.parameters().like()),
      score_segment_(state.model.parameters().segment("score.")),
      first_bad_(
          at::full({4}, -1.0, state.model.parameters().flat().options().dtype(at::kDouble))) {
  state_.model.parameters().collect_gradients_in(gradients_);
}

LossTerms EagerStepEngine::compute_gradients(const Batch& batch, const StepNoise& noise) {
  const at::AutoGradMode with_gradient(true);
  gradients_.flat().zero_();
  LossTerms terms = drop_losses(state_.model, batch, noise, settings_);
  at::Tensor total =
      terms.behaviour + state_.model.shape().kl_weight * terms.kl + terms.td + terms.improvement;
  if (conservative_) total = total + state_.multiplier.penalty(terms.conservative_gap);
  torch::autograd::backward({total});
  // remember the first step whose losses or gradients went wrong, without waiting for the device
  const at::NoGradGuard no_grad;
  const auto exact = [](const at::Tensor& value) { return value.detach().to(at::kDouble); };
  const at::Tensor losses =
      at::stack({at::full({}, static_cast<double>(state_.step), first_bad_.options()),
                 exact(terms.behaviour), exact(terms.td), exact(terms.conservative_gap)});
  const at::Tensor keep = at::isfinite(losses.sum() + exact(total) + exact(gradients_.flat().sum()))
                              .logical_or(first_bad_[0] >= 0);
  first_bad_ = at::where(keep, first_bad_, losses);
  terms.behaviour = terms.behaviour.detach();
  terms.kl = terms.kl.detach();
  terms.td = terms.td.detach();
  terms.conservative_gap = terms.conservative_gap.detach();
  return terms;
}

void EagerStepEngine::step(const Batch& batch, const StepNoise& noise) {
  last_ = compute_gradients(batch, noise);
  const at::NoGradGuard no_grad;
  state_.adam.step(gradients_.flat());
  if (conservative_) state_.multiplier.update(last_.conservative_gap);
  if (settings_.score) state_.model.target_parameters().flat().lerp_(score_segment_, target_rate_);
  ++state_.step;
}

void EagerStepEngine::advance(int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    step(sampler_->draw(state_.step),
         draw_noise(state_.seed, state_.step, sampler_->batch_size(), state_.model.shape(),
                    state_.model.parameters().flat().options()));
  }
}

StepMetrics EagerStepEngine::metrics(size_t /*seed*/) const {
  StepMetrics metrics;
  if (!last_.behaviour.defined()) return metrics;
  metrics.behaviour = last_.behaviour.item<double>();
  metrics.kl = last_.kl.item<double>();
  metrics.td = last_.td.item<double>();
  metrics.conservative_gap = last_.conservative_gap.item<double>();
  if (settings_.score) metrics.multiplier = state_.multiplier.value().item<double>();
  metrics.mean_score = last_.mean_score.item<double>();
  return metrics;
}

std::optional<BadStep> EagerStepEngine::first_bad_step(size_t /*seed*/) const {
  const at::Tensor host = first_bad_.cpu();
  const double* values = host.const_data_ptr<double>();
  if (values[0] < 0) return std::nullopt;
  return BadStep{static_cast<int64_t>(values[0]), values[1], values[2], values[3]};
}

}  // namespace drop
