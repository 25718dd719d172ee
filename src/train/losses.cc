#include "drop/train/losses.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace drop {

LossTerms drop_losses(const DropModel& model, const Batch& batch, const at::Tensor& uniform_z,
                      const LossSettings& settings) {
  const at::Tensor z = model.task_embedding().embeddings().index_select(0, batch.subtasks);
  LossTerms terms;

  // behaviour: beta fits the actions of the sub-task that z names
  const at::Tensor encoded = model.policy().encode_state(batch.states);
  const at::Tensor mean_action = model.policy().mean(encoded, z);
  terms.behaviour = model.policy().negative_log_likelihood(mean_action, batch.actions).mean();

  // temporal difference: one embedding serves both ends of a transition
  at::Tensor target;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor next = model.target_score().forward(batch.next_states, batch.next_actions, z);
    target = batch.rewards + settings.discount * (1.0 - batch.terminals) * next;
  }
  const at::Tensor projected = model.score().project_state(batch.states);
  const at::Tensor predicted =
      model.score().score(projected, batch.actions, settings.td_updates_embedding ? z : z.detach());
  terms.td = (predicted - target).pow(2).mean();
  terms.mean_score = predicted.detach().mean();

  // conservative gap: scores at uniform embeddings against scores at the data's; without the
  // constraint it is only measured
  const at::AutoGradMode measured_only(at::GradMode::is_enabled() && settings.conservative);
  at::Tensor uniform_action;
  {
    const at::NoGradGuard no_grad;
    uniform_action = model.policy().mean(encoded, uniform_z);
  }
  terms.conservative_gap = model.score().score(projected, uniform_action, uniform_z).mean() -
                           model.score().score(projected, mean_action.detach(), z.detach()).mean();
  return terms;
}

}  // namespace drop
