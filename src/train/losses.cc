#include "drop/train/losses.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

namespace drop {

namespace {

// better actions by f's judgement, in units of its scores; no gradient into f, z or h's encoder
// beyond what beta's mean sends there
at::Tensor improvement_loss(const DropModel& model, const at::Tensor& encoded,
                            const at::Tensor& projected, const at::Tensor& z, double weight) {
  if (weight == 0.0) return at::zeros({}, z.options());
  const at::Tensor mean = model.policy().mean(encoded, z);
  const at::Tensor action = mean.detach().requires_grad_(true);
  const at::Tensor scores = model.score().score(projected.detach(), action, z);
  const at::Tensor gradient = torch::autograd::grad({scores.sum()}, {action})[0];
  const at::Tensor scale = scores.detach().abs().mean().clamp_min(1e-8);
  return -weight * (mean * gradient).sum() / (scale * static_cast<double>(mean.size(0)));
}

}  // namespace

LossTerms drop_losses(const DropModel& model, const Batch& batch, const StepNoise& noise,
                      const LossSettings& settings) {
  const bool cvae = model.shape().embedding == EmbeddingKind::kCvae;
  LossTerms terms;
  at::Tensor z;
  if (cvae) {
    const auto posterior = model.posterior_encoder().forward(batch.states, batch.actions);
    z = posterior.mean + at::exp(posterior.log_std) * noise.posterior;
    terms.kl = PosteriorEncoder::kl_divergence(posterior).mean();
  } else {
    z = model.task_embedding().embeddings().index_select(0, batch.subtasks);
    terms.kl = at::zeros({}, z.options());
  }

  // behaviour: beta fits the actions of the sub-task that z names
  const at::Tensor encoded = model.policy().encode_state(batch.states);
  const at::Tensor mean_action = model.policy().mean(encoded, z);
  terms.behaviour = model.policy().negative_log_likelihood(mean_action, batch.actions).mean();
  if (!settings.score) {
    terms.td = terms.conservative_gap = terms.improvement = terms.mean_score =
        at::zeros({}, z.options());
    return terms;
  }

  // temporal difference: one embedding serves both ends of a transition
  at::Tensor target;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor next = model.target_score().forward(batch.next_states, batch.next_actions, z);
    target = batch.rewards + settings.discount * (1.0 - batch.terminals) * next;
  }
  const at::Tensor projected = model.score().project_state(batch.states);
  const at::Tensor predicted = model.score().score(
      projected, batch.actions, settings.td_updates_embedding && !cvae ? z : z.detach());
  terms.td = (predicted - target).pow(2).mean();
  terms.mean_score = predicted.detach().mean();
  terms.improvement = improvement_loss(model, encoded, projected, z.detach(), settings.improvement);

  // conservative gap: scores at uniform embeddings against scores at the data's; without the
  // constraint it is only measured
  const at::AutoGradMode measured_only(at::GradMode::is_enabled() && settings.conservative);
  at::Tensor uniform_action;
  {
    const at::NoGradGuard no_grad;
    uniform_action = model.policy().mean(encoded, noise.uniform_z);
  }
  terms.conservative_gap = model.score().score(projected, uniform_action, noise.uniform_z).mean() -
                           model.score().score(projected, mean_action.detach(), z.detach()).mean();
  return terms;
}

}  // namespace drop
