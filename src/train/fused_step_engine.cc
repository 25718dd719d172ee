#include "train/fused_step_engine.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace drop {

FusedStepState fused_state_of(TrainState& state) {
  FusedStepState fused;
  fused.parameters = &state.model.parameters();
  fused.target_parameters = &state.model.target_parameters();
  fused.flat = fused.parameters->flat();
  fused.target = fused.target_parameters->flat();
  fused.exp_avg = state.adam.exp_avg;
  fused.exp_avg_sq = state.adam.exp_avg_sq;
  fused.adam_step_count = state.adam.step_count;
  fused.multiplier = state.multiplier.parameter();
  fused.multiplier_exp_avg = state.multiplier.adam().exp_avg;
  fused.multiplier_exp_avg_sq = state.multiplier.adam().exp_avg_sq;
  fused.multiplier_step_count = state.multiplier.adam().step_count;
  return fused;
}

StepMetrics step_metrics_of(const at::Tensor& slots) {
  const double* values = slots.const_data_ptr<double>();
  StepMetrics metrics;
  metrics.behaviour = values[kBehaviourSlot];
  metrics.td = values[kTdSlot];
  metrics.conservative_gap = values[kGapSlot];
  metrics.multiplier = values[kMultiplierSlot];
  metrics.mean_score = values[kMeanScoreSlot];
  metrics.kl = values[kKlSlot];
  return metrics;
}

std::optional<BadStep> bad_step_of(const at::Tensor& slots) {
  const double* values = slots.const_data_ptr<double>();
  if (values[kBadStepSlot] < 0) return std::nullopt;
  return BadStep{static_cast<int64_t>(values[kBadStepSlot]), values[kBadBehaviourSlot],
                 values[kBadTdSlot], values[kBadGapSlot]};
}

FusedStepEngine::FusedStepEngine(TrainState& state, const Sampler* sampler,
                                 const TrainConfig& config, int64_t batch_size, Precision precision)
    : state_(state),
      sampler_(sampler),
      backend_(make_dense_backend({at::kCPU, state.model.parameters().flat().scalar_type(),
                                   precision, /*num_seeds=*/0, /*training=*/true})),
      step_(*backend_, state.model.shape(), config, state.multiplier.threshold(), batch_size,
            fused_state_of(state)) {}

void FusedStepEngine::take(const Batch& batch, const StepNoise& noise) {
  const int64_t rows = batch.states.size(0);
  const FusedBatch& to = step_.batch();
  const auto copy = [&](const at::Tensor& into, const at::Tensor& from) {
    into.narrow(0, 0, rows).copy_(from);
  };
  copy(to.states, batch.states);
  copy(to.actions, batch.actions);
  copy(to.rewards, batch.rewards);
  copy(to.next_states, batch.next_states);
  copy(to.next_actions, batch.next_actions);
  copy(to.terminals, batch.terminals);
  copy(to.subtasks, batch.subtasks);
  copy(to.uniform_z, noise.uniform_z);
  if (to.posterior_noise.defined()) copy(to.posterior_noise, noise.posterior);
}

void FusedStepEngine::draw() {
  const FusedBatch& to = step_.batch();
  const StepNoise noise = draw_noise(state_.seed, state_.step, sampler_->batch_size(),
                                     state_.model.shape(), to.uniform_z.options());
  if (to.states.scalar_type() != at::kFloat) {
    take(sampler_->draw(state_.step), noise);
    return;
  }
  sampler_->draw_into(
      state_.step,
      {to.states.data_ptr<float>(), to.actions.data_ptr<float>(), to.rewards.data_ptr<float>(),
       to.next_states.data_ptr<float>(), to.next_actions.data_ptr<float>(),
       to.terminals.data_ptr<float>(), to.subtasks.data_ptr<int64_t>()});
  to.uniform_z.narrow(0, 0, sampler_->batch_size()).copy_(noise.uniform_z);
  if (to.posterior_noise.defined())
    to.posterior_noise.narrow(0, 0, sampler_->batch_size()).copy_(noise.posterior);
}

void FusedStepEngine::run(bool measure_gap) {
  step_.run(measure_gap);
  ++state_.step;
}

void FusedStepEngine::step(const Batch& batch, const StepNoise& noise) {
  const at::NoGradGuard no_grad;
  take(batch, noise);
  step_.step().fill_(state_.step);
  backend_->refresh();
  run(/*measure_gap=*/true);
}

void FusedStepEngine::compute_gradients(const Batch& batch, const StepNoise& noise) {
  const at::NoGradGuard no_grad;
  take(batch, noise);
  backend_->refresh();
  step_.compute_gradients();
}

void FusedStepEngine::advance(int64_t count) {
  const at::NoGradGuard no_grad;
  step_.step().fill_(state_.step);
  backend_->refresh();  // the parameters may have been restored meanwhile
  for (int64_t i = 0; i < count; ++i) {
    draw();
    run(/*measure_gap=*/i + 1 == count);
  }
}

StepMetrics FusedStepEngine::metrics(size_t /*seed*/) const {
  return step_metrics_of(step_.metrics());
}

std::optional<BadStep> FusedStepEngine::first_bad_step(size_t /*seed*/) const {
  return bad_step_of(step_.metrics());
}

}  // namespace drop
