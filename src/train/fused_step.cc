#include "train/fused_step.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace drop {

FusedStep::FusedStep(DenseBackend& backend, const ModelShape& shape, const TrainConfig& config,
                     double threshold, int64_t batch_size, const FusedStepState& state)
    : backend_(backend),
      shape_(shape),
      config_(config),
      threshold_(threshold),
      batch_size_(batch_size),
      block_(round_up(batch_size, backend.row_alignment())),
      state_(state),
      gradients_(at::zeros_like(state.flat)) {
  add_layers();
  add_matrices();
  backend_.bind(state_.flat, state_.target, gradients_);
  backend_.refresh();
}

void FusedStep::add_layers() {
  DenseLayers layers(backend_, *state_.parameters);
  DenseLayers target_layers(backend_, *state_.target_parameters, /*target=*/true);
  const int64_t width = shape_.hidden_width;
  // no gradient goes into states, actions and one-hot sub-tasks
  for (int i = 0; i < 3; ++i)
    phi_[i] = layers.layer(cvae() ? "encoder" : "task_embedding.encoder", i, 0,
                           /*input_gradient=*/i > 0);
  for (int i = 0; i < 2; ++i) {
    beta_[i] = layers.layer("policy.state_encoder", i, 0, i > 0);
    f_[i] = layers.layer("score.state_action_encoder", i, 0, i > 0);
    target_[i] = target_layers.layer("target_score.state_action_encoder", i);
  }
  for (int i = 0; i < 4; ++i) {
    const int64_t split = i == 0 ? width : 0;  // [h, z] and [g, z]
    beta_[2 + i] = layers.layer("policy.action_encoder", i, split);
    f_[2 + i] = layers.layer("score.score_encoder", i, split);
    target_[2 + i] = target_layers.layer("target_score.score_encoder", i, split);
  }
}

void FusedStep::add_matrices() {
  const int64_t width = shape_.hidden_width;
  const int64_t d = shape_.embedding_dim;
  const int64_t s = shape_.state_dim;
  const int64_t a = shape_.action_dim;
  const int64_t n = cvae() ? block_ : round_up(shape_.num_subtasks, backend_.row_alignment());
  const int64_t phi_outputs = cvae() ? 2 * d : d;
  const auto input = [&](int64_t rows, int64_t columns) {
    return backend_.add_matrix(rows, columns, MatrixUse::kInput);
  };
  const auto hidden = [&](int64_t rows) {
    return backend_.add_matrix(rows, width, MatrixUse::kHidden);
  };
  const auto gradient = [&](int64_t rows, int64_t columns) {
    return backend_.add_matrix(rows, columns, MatrixUse::kGradient);
  };

  // the batch, and what is plain
  batch_.states = backend_.plain({block_, s});
  batch_.actions = backend_.plain({block_, a});
  batch_.next_states = backend_.plain({block_, s});
  batch_.next_actions = backend_.plain({block_, a});
  batch_.rewards = backend_.plain({block_});
  batch_.terminals = backend_.plain({block_});
  batch_.subtasks = backend_.plain_index({block_});
  batch_.uniform_z = backend_.plain({block_, d});
  if (cvae()) batch_.posterior_noise = backend_.plain({block_, d});
  metrics_ = backend_.plain({kMetricSlots}).to(at::kDouble);
  metrics_.select(-1, kBadStepSlot).fill_(-1.0);
  step_ = backend_.plain_index({1});
  phi_out_ = backend_.plain({n, phi_outputs});
  phi_out_gradient_ = backend_.plain({n, phi_outputs});
  z_ = backend_.plain({block_, d});
  z_gradient_ = backend_.plain({block_, d});
  shared_ = backend_.plain({block_, width});
  mean_gradient_ = backend_.plain({block_, a});
  scores_ = backend_.plain({3 * block_, 1});
  next_scores_ = backend_.plain({block_, 1});
  score_gradient_ = backend_.plain({3 * block_, 1});

  // phi
  if (cvae()) phi_in_ = input(n, s + (shape_.encodes_actions ? a : 0));
  phi_hidden0_ = hidden(n);
  phi_hidden1_ = hidden(n);
  phi_gradient2_ = gradient(n, phi_outputs);
  phi_gradient1_ = gradient(n, width);
  phi_gradient0_ = gradient(n, width);

  // beta; the evaluation at z_u needs no gradient, but lies apart so that it can run beside
  states_ = input(block_, s);
  e0_ = hidden(block_);
  h_ = hidden(block_);
  for (PolicyPass* pass : {&data_pass_, &uniform_pass_}) {
    *pass = {input(block_, d), hidden(block_), hidden(block_), hidden(block_),
             backend_.plain({block_, a})};
  }
  for (int i = 0; i < 6; ++i) policy_gradient_[i] = gradient(block_, i < 5 ? width : a);

  // f at three points, f_bar at one
  state_actions_ = input(3 * block_, s + a);
  score_z_ = input(3 * block_, d);
  next_state_actions_ = input(block_, s + a);
  next_z_ = input(block_, d);
  for (int i = 0; i < 5; ++i) {
    score_hidden_[i] = hidden(3 * block_);
    next_hidden_[i] = hidden(block_);
  }
  for (int i = 0; i < 6; ++i) score_layer_gradient_[i] = gradient(3 * block_, i < 5 ? width : 1);
}

template <typename Body>
void FusedStep::in_blocks(RowRange rows, const Body& body) const {
  const int64_t preferred = backend_.preferred_rows();
  const int64_t most = preferred > 0 ? preferred : rows.count;
  for (int64_t begin = 0; begin < rows.count; begin += most)
    body(RowRange{rows.begin + begin, std::min(most, rows.count - begin)});
}

// z_n for all sub-tasks, z for the batch's
void FusedStep::forward_embedding() {
  const RowRange all{0, shape_.num_subtasks};
  const HeadForm form = shape_.bounded_embedding ? HeadForm::kTanh : HeadForm::kLinear;
  backend_.one_hot_linear(phi_hidden0_, phi_[0].weight, phi_[0].bias);
  backend_.linear(phi_hidden1_, {{phi_hidden0_, phi_[1].weight}}, phi_[1].bias, {}, all);
  backend_.head(phi_out_, {{phi_hidden1_, phi_[2].weight}}, phi_[2].bias, form, all);
  backend_.gather(z_, phi_out_, batch_.subtasks, batch_size_);
}

// z from the posterior of each row
void FusedStep::forward_posterior() {
  const RowRange all{0, block_};
  backend_.load(phi_in_, batch_.states, 0, all);
  if (shape_.encodes_actions) backend_.load(phi_in_, batch_.actions, shape_.state_dim, all);
  in_blocks(all, [&](RowRange rows) {
    backend_.linear(phi_hidden0_, {{phi_in_, phi_[0].weight}}, phi_[0].bias, {}, rows);
    backend_.linear(phi_hidden1_, {{phi_hidden0_, phi_[1].weight}}, phi_[1].bias, {}, rows);
    backend_.head(phi_out_, {{phi_hidden1_, phi_[2].weight}}, phi_[2].bias, HeadForm::kLinear,
                  rows);
  });
  backend_.sample_posterior(z_, phi_out_, batch_.posterior_noise, batch_size_);
}

// beta's mean at z, from the shared sum
void FusedStep::forward_policy(const PolicyPass& pass, const at::Tensor& z) {
  backend_.load(pass.z, z, 0, {0, block_});
  in_blocks({0, block_}, [&](RowRange rows) {
    backend_.linear(pass.x2, {{pass.z, beta_[2].joined}}, std::nullopt, {shared_, 1}, rows);
    backend_.linear(pass.x3, {{pass.x2, beta_[3].weight}}, beta_[3].bias, {}, rows);
    backend_.linear(pass.x4, {{pass.x3, beta_[4].weight}}, beta_[4].bias, {}, rows);
    backend_.head(pass.mean, {{pass.x4, beta_[5].weight}}, beta_[5].bias, HeadForm::kTanh, rows);
  });
}

void FusedStep::forward_score(RowRange range) {
  in_blocks(range, [&](RowRange rows) {
    const MatrixId* x = score_hidden_;
    backend_.linear(x[0], {{state_actions_, f_[0].weight}}, f_[0].bias, {}, rows);
    backend_.linear(x[1], {{x[0], f_[1].weight}}, f_[1].bias, {}, rows);
    backend_.linear(x[2], {{x[1], f_[2].weight}, {score_z_, f_[2].joined}}, f_[2].bias, {}, rows);
    backend_.linear(x[3], {{x[2], f_[3].weight}}, f_[3].bias, {}, rows);
    backend_.linear(x[4], {{x[3], f_[4].weight}}, f_[4].bias, {}, rows);
    backend_.head(scores_, {{x[4], f_[5].weight}}, f_[5].bias, HeadForm::kLinear, rows);
  });
}

void FusedStep::forward_target() {
  const RowRange all{0, block_};
  backend_.load(next_state_actions_, batch_.next_states, 0, all);
  backend_.load(next_state_actions_, batch_.next_actions, shape_.state_dim, all);
  backend_.load(next_z_, z_, 0, all);
  in_blocks(all, [&](RowRange rows) {
    const MatrixId* x = next_hidden_;
    const DenseLayer* f = target_;
    backend_.linear(x[0], {{next_state_actions_, f[0].weight}}, f[0].bias, {}, rows);
    backend_.linear(x[1], {{x[0], f[1].weight}}, f[1].bias, {}, rows);
    backend_.linear(x[2], {{x[1], f[2].weight}, {next_z_, f[2].joined}}, f[2].bias, {}, rows);
    backend_.linear(x[3], {{x[2], f[3].weight}}, f[3].bias, {}, rows);
    backend_.linear(x[4], {{x[3], f[4].weight}}, f[4].bias, {}, rows);
    backend_.head(next_scores_, {{x[4], f[5].weight}}, f[5].bias, HeadForm::kLinear, rows);
  });
}

// L_td and, where it has one, the gap's gradient: into f, and into z from the first block alone
void FusedStep::backward_score(bool gap_has_gradient) {
  const RowRange all{0, gap_has_gradient ? 3 * block_ : block_};
  const MatrixId* x = score_hidden_;
  const MatrixId* g = score_layer_gradient_;
  backend_.load(g[5], score_gradient_, 0, all);
  in_blocks(all, [&](RowRange rows) {
    for (int i = 5; i > 0; --i)
      backend_.input_gradient(g[i - 1], g[i], f_[i].weight, x[i - 1], rows);
  });
  // weights wait for nothing but the chain above
  backend_.wait(kScoreWeights, kMain);
  backend_.branch(kScoreWeights);
  for (int i = 5; i > 0; --i)
    backend_.weight_gradient(f_[i].weight, x[i - 1], g[i], f_[i].bias, all);
  backend_.weight_gradient(f_[2].joined, score_z_, g[2], std::nullopt, all);
  backend_.weight_gradient(f_[0].weight, state_actions_, g[0], f_[0].bias, all);
  backend_.branch(kMain);
}

void FusedStep::backward_policy() {
  const RowRange all{0, block_};
  const MatrixId inputs[] = {states_, e0_, h_, data_pass_.x2, data_pass_.x3, data_pass_.x4};
  const MatrixId* g = policy_gradient_;
  backend_.load(g[5], mean_gradient_, 0, all);
  in_blocks(all, [&](RowRange rows) {
    for (int i = 5; i > 0; --i)
      backend_.input_gradient(g[i - 1], g[i], beta_[i].weight, inputs[i], rows);
  });
  backend_.wait(kPolicyWeights, kMain);
  backend_.branch(kPolicyWeights);
  for (int i = 5; i >= 0; --i)
    backend_.weight_gradient(beta_[i].weight, inputs[i], g[i], beta_[i].bias, all);
  backend_.weight_gradient(beta_[2].joined, data_pass_.z, g[2], std::nullopt, all);
  backend_.branch(kMain);
}

void FusedStep::backward_embedding() {
  // both losses reach z where the second encoders take it in; a CVAE's encoder hears nothing of f
  const RowRange block{0, block_};
  backend_.head_gradient(z_gradient_, policy_gradient_[2], beta_[2].joined, false, block);
  if (config_.score && config_.td_updates_embedding && !cvae())
    backend_.head_gradient(z_gradient_, score_layer_gradient_[2], f_[2].joined, true, block);
  if (cvae()) {
    backend_.posterior_gradient({phi_out_, batch_.posterior_noise, z_gradient_, shape_.kl_weight,
                                 batch_size_, phi_out_gradient_},
                                metrics_);
  } else {
    backend_.scatter(phi_out_gradient_, z_gradient_, batch_.subtasks, batch_size_);
    if (shape_.bounded_embedding)
      backend_.through_tanh(phi_out_gradient_, phi_out_, shape_.num_subtasks);
  }
  const RowRange all{0, cvae() ? block_ : shape_.num_subtasks};
  backend_.load(phi_gradient2_, phi_out_gradient_, 0, all);
  in_blocks(all, [&](RowRange rows) {
    backend_.input_gradient(phi_gradient1_, phi_gradient2_, phi_[2].weight, phi_hidden1_, rows);
    backend_.input_gradient(phi_gradient0_, phi_gradient1_, phi_[1].weight, phi_hidden0_, rows);
  });
  backend_.weight_gradient(phi_[2].weight, phi_hidden1_, phi_gradient2_, phi_[2].bias, all);
  backend_.weight_gradient(phi_[1].weight, phi_hidden0_, phi_gradient1_, phi_[1].bias, all);
  if (cvae())
    backend_.weight_gradient(phi_[0].weight, phi_in_, phi_gradient0_, phi_[0].bias, all);
  else
    backend_.one_hot_gradient(phi_[0].weight, phi_gradient0_, phi_[0].bias);
}

// L_td, C and the multiplier's step; false when C sends no gradient
bool FusedStep::score_losses(bool gap) {
  ScoreLosses losses;
  losses.scores = scores_;
  losses.next_scores = next_scores_;
  losses.rewards = batch_.rewards;
  losses.terminals = batch_.terminals;
  losses.batch_size = batch_size_;
  losses.block = block_;
  losses.discount = config_.discount;
  losses.measure_gap = gap;
  losses.conservative = config_.conservative;
  losses.form = config_.multiplier;
  losses.multiplier_rate = config_.multiplier_rate;
  losses.threshold = threshold_;
  losses.multiplier = state_.multiplier;
  losses.exp_avg = state_.multiplier_exp_avg;
  losses.exp_avg_sq = state_.multiplier_exp_avg_sq;
  losses.step_count = state_.multiplier_step_count;
  losses.score_gradient = score_gradient_;
  return backend_.score_losses(losses, metrics_) && config_.conservative;
}

void FusedStep::compute_gradients(bool measure_gap) {
  const int64_t s = shape_.state_dim;
  const RowRange block{0, block_};
  const RowRange uniform{block_, block_};
  const RowRange data{2 * block_, block_};
  const bool score = config_.score;
  const bool gap = score && (config_.conservative || measure_gap);

  // embeddings, then three evaluations that need nothing of each other: f_bar, f at the data's
  // actions, beta
  if (cvae())
    forward_posterior();
  else
    forward_embedding();
  if (score) {
    backend_.wait(kTargetBranch, kMain);
    backend_.branch(kTargetBranch);
    forward_target();
    backend_.wait(kScoreBranch, kMain);
    backend_.branch(kScoreBranch);
    backend_.load(state_actions_, batch_.states, 0, block);
    backend_.load(state_actions_, batch_.actions, s, block);
    backend_.load(score_z_, z_, 0, block);
    forward_score(block);
    backend_.branch(kMain);
  }
  backend_.load(states_, batch_.states, 0, block);
  in_blocks(block, [&](RowRange rows) {
    backend_.linear(e0_, {{states_, beta_[0].weight}}, beta_[0].bias, {}, rows);
    backend_.linear(h_, {{e0_, beta_[1].weight}}, beta_[1].bias, {}, rows);
    backend_.head(shared_, {{h_, beta_[2].weight}}, beta_[2].bias, HeadForm::kLinear, rows);
  });
  forward_policy(data_pass_, z_);
  if (gap) {
    forward_policy(uniform_pass_, batch_.uniform_z);
    // f where beta acts, at uniform and at the data's embeddings
    for (const auto& [rows, pass, z] : {std::tuple(uniform, &uniform_pass_, &batch_.uniform_z),
                                        std::tuple(data, &data_pass_, &z_)}) {
      backend_.load(state_actions_, batch_.states, 0, rows);
      backend_.load(state_actions_, pass->mean, s, rows);
      backend_.load(score_z_, *z, 0, rows);
    }
    forward_score({block_, 2 * block_});
  }

  // losses
  BehaviourLoss behaviour{data_pass_.mean, batch_.actions, {}, batch_size_, mean_gradient_, {}};
  if (state_.parameters->contains("policy.log_std")) {
    const int64_t offset = state_.parameters->offset("policy.log_std");
    behaviour.log_std = state_.flat.detach().narrow(-1, offset, shape_.action_dim);
    behaviour.log_std_gradient = gradients_.narrow(-1, offset, shape_.action_dim);
  }
  backend_.behaviour_loss(behaviour, metrics_);
  bool gap_has_gradient = false;
  if (score) {
    backend_.wait(kMain, kTargetBranch);
    backend_.wait(kMain, kScoreBranch);
    gap_has_gradient = score_losses(gap);
  }

  // gradients
  if (score) backward_score(gap_has_gradient);
  backward_policy();
  backward_embedding();
  if (score) backend_.wait(kMain, kScoreWeights);
  backend_.wait(kMain, kPolicyWeights);
}

void FusedStep::run(bool measure_gap) {
  compute_gradients(measure_gap);
  backend_.update({state_.flat, gradients_, state_.exp_avg, state_.exp_avg_sq,
                   state_.adam_step_count, config_.learning_rate, state_.target,
                   state_.parameters->offset("score.state_action_encoder.0.weight"),
                   config_.score ? config_.target_rate : 0.0},
                  metrics_, step_);
}

}  // namespace drop
