#include "drop/nn/drop_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/arithmetic.h"

namespace drop {

namespace {

constexpr double kSaturated = 0.99;
constexpr int64_t kAnchors = 1024;

std::vector<ParameterSpec> trained_specs(const ModelShape& s) {
  const int64_t w = s.hidden_width;
  std::vector<ParameterSpec> specs;
  if (s.embedding == EmbeddingKind::kTable) {
    Encoder::append_specs(specs, "task_embedding.encoder", {s.num_subtasks, w, w, s.embedding_dim});
  } else {
    const int64_t inputs = s.state_dim + (s.encodes_actions ? s.action_dim : 0);
    Encoder::append_specs(specs, "encoder", {inputs, w, w, 2 * s.embedding_dim});
  }
  Encoder::append_specs(specs, "policy.state_encoder", {s.state_dim, w, w});
  Encoder::append_specs(specs, "policy.action_encoder",
                        {w + s.embedding_dim, w, w, w, s.action_dim});
  if (s.policy_std == PolicyStd::kLearned) specs.push_back({"policy.log_std", {s.action_dim}, 0});
  Encoder::append_specs(specs, "score.state_action_encoder", {s.state_dim + s.action_dim, w, w});
  Encoder::append_specs(specs, "score.score_encoder", {w + s.embedding_dim, w, w, w, 1});
  return specs;
}

std::vector<ParameterSpec> target_specs(const std::vector<ParameterSpec>& trained) {
  std::vector<ParameterSpec> specs;
  for (const ParameterSpec& spec : trained) {
    if (spec.name.rfind("score.", 0) == 0)
      specs.push_back({"target_" + spec.name, spec.shape, spec.fan_in});
  }
  return specs;
}

}  // namespace

std::vector<ParameterSpec> parameter_specs(const ModelShape& shape) {
  std::vector<ParameterSpec> specs = trained_specs(shape);
  const std::vector<ParameterSpec> target = target_specs(specs);
  specs.insert(specs.end(), target.begin(), target.end());
  return specs;
}

ModelShape ModelShape::from(const ModelConfig& config, int64_t state_dim, int64_t action_dim,
                            int64_t num_subtasks) {
  const auto& inputs = config.encoder_inputs;
  ModelShape shape;
  shape.state_dim = state_dim;
  shape.action_dim = action_dim;
  shape.num_subtasks = num_subtasks;
  shape.embedding_dim = config.latent_size(action_dim);
  shape.hidden_width = config.hidden_width;
  shape.policy_std = config.policy_std;
  shape.embedding = config.embedding;
  shape.bounded_embedding = config.bounded_embedding;
  shape.encodes_actions = std::find(inputs.begin(), inputs.end(), "a") != inputs.end();
  shape.kl_weight = config.kl_weight;
  return shape;
}

TaskEmbedding::TaskEmbedding(const ParameterBuffer& parameters, const ModelShape& shape)
    : encoder_(parameters, "task_embedding.encoder",
               shape.bounded_embedding ? OutputForm::kTanh : OutputForm::kLinear) {}

at::Tensor TaskEmbedding::embeddings() const {
  // row n of the transposed first weight is that layer's product with one-hot n
  return encoder_.forward_from_first(encoder_.first_weight().t() + encoder_.first_bias());
}

PosteriorEncoder::PosteriorEncoder(const ParameterBuffer& parameters, const ModelShape& shape)
    : encoder_(parameters, "encoder", OutputForm::kLinear),
      encodes_actions_(shape.encodes_actions) {}

PosteriorEncoder::Posterior PosteriorEncoder::forward(const at::Tensor& states,
                                                      const at::Tensor& actions) const {
  const at::Tensor out =
      encoder_.forward(encodes_actions_ ? at::cat({states, actions}, -1) : states);
  const int64_t d = out.size(-1) / 2;
  return {out.narrow(-1, 0, d), out.narrow(-1, d, d).clamp(arithmetic::kMinPosteriorLogStd,
                                                           arithmetic::kMaxPosteriorLogStd)};
}

at::Tensor PosteriorEncoder::kl_divergence(const Posterior& p) {
  return 0.5 * (p.mean * p.mean + at::exp(2 * p.log_std) - 1.0 - 2 * p.log_std).sum(-1);
}

ContextualPolicy::ContextualPolicy(const ParameterBuffer& parameters, const ModelShape& shape)
    : state_encoder_(parameters, "policy.state_encoder", OutputForm::kRelu),
      action_encoder_(parameters, "policy.action_encoder", shape.hidden_width, OutputForm::kTanh),
      action_dim_(shape.action_dim) {
  if (shape.policy_std == PolicyStd::kLearned) log_std_ = parameters.view("policy.log_std");
}

at::Tensor ContextualPolicy::encode_state(const at::Tensor& states) const {
  return action_encoder_.project(state_encoder_.forward(states));
}

at::Tensor ContextualPolicy::mean(const at::Tensor& encoded, const at::Tensor& z) const {
  return action_encoder_.forward(encoded, z);
}

at::Tensor ContextualPolicy::negative_log_likelihood(const at::Tensor& mean,
                                                     const at::Tensor& actions) const {
  const at::Tensor error = actions - mean;
  if (!log_std_.defined()) return (error * error).sum(-1) * 0.5;
  const at::Tensor log_std = log_std_.clamp(arithmetic::kMinLogStd, arithmetic::kMaxLogStd);
  const at::Tensor standardised = error * at::exp(-log_std);
  return (standardised * standardised).sum(-1) * 0.5 + log_std.sum();
}

at::Tensor ContextualPolicy::std(const at::TensorOptions& options) const {
  if (!log_std_.defined()) return at::ones({action_dim_}, options);
  return at::exp(log_std_.clamp(arithmetic::kMinLogStd, arithmetic::kMaxLogStd));
}

ScoreModel::ScoreModel(const ParameterBuffer& parameters, const ModelShape& shape,
                       const std::string& prefix)
    : state_action_encoder_(parameters, prefix + ".state_action_encoder", shape.state_dim,
                            OutputForm::kRelu),
      score_encoder_(parameters, prefix + ".score_encoder", shape.hidden_width,
                     OutputForm::kLinear) {}

at::Tensor ScoreModel::project_state(const at::Tensor& states) const {
  return state_action_encoder_.project(states);
}

at::Tensor ScoreModel::score(const at::Tensor& projected, const at::Tensor& actions,
                             const at::Tensor& z) const {
  const at::Tensor g = state_action_encoder_.forward(projected, actions);
  return score_encoder_.forward(score_encoder_.project(g), z).squeeze(-1);
}

at::Tensor ScoreModel::forward(const at::Tensor& states, const at::Tensor& actions,
                               const at::Tensor& z) const {
  return score(project_state(states), actions, z);
}

DropModel::DropModel(const ModelShape& shape, const at::TensorOptions& options)
    : shape_(shape),
      parameters_(trained_specs(shape), options),
      target_parameters_(target_specs(parameters_.specs()), options),
      policy_(parameters_, shape),
      score_(parameters_, shape, "score"),
      target_score_(target_parameters_, shape, "target_score") {
  if (shape.embedding == EmbeddingKind::kTable)
    task_embedding_ = TaskEmbedding(parameters_, shape);
  else
    posterior_encoder_ = PosteriorEncoder(parameters_, shape);
}

void DropModel::initialise(RandomStream& stream) {
  const at::NoGradGuard no_grad;
  std::vector<double> values;
  for (size_t i = 0; i < parameters_.specs().size(); ++i) {
    const ParameterSpec& spec = parameters_.specs()[i];
    const at::Tensor& view = parameters_.views()[i];
    if (spec.fan_in == 0) {
      view.zero_();
      continue;
    }
    const double bound = 1.0 / std::sqrt(static_cast<double>(spec.fan_in));
    values.resize(static_cast<size_t>(view.numel()));
    for (double& value : values) value = stream.uniform(-bound, bound);
    view.copy_(at::from_blob(values.data(), spec.shape, at::kDouble));
  }
  target_parameters_.flat().copy_(parameters_.segment("score."));
}

EncodedStates DropModel::encode(const at::Tensor& states) const {
  return {policy_.encode_state(states).unsqueeze(1), score_.project_state(states).unsqueeze(1)};
}

at::Tensor DropModel::score_embeddings(const EncodedStates& states, const at::Tensor& z) const {
  const at::Tensor actions = policy_.mean(states.policy, z);
  // with one set of embeddings for all states the actions carry the axis of states, z does not
  return score_.score(states.score, actions, z);
}

at::Tensor DropModel::act(const EncodedStates& states, const at::Tensor& z) const {
  return policy_.mean(states.policy, z.unsqueeze(1)).squeeze(1);
}

EmbeddingHealth embedding_health(const at::Tensor& embeddings) {
  const at::NoGradGuard no_grad;
  EmbeddingHealth health;
  health.saturated_share = (embeddings.abs() > kSaturated).to(at::kDouble).mean().item<double>();
  const int64_t count = embeddings.size(0);
  if (count > 1) {
    // at most kAnchors of the embeddings, evenly spaced, each against all others
    const at::Tensor z = embeddings.to(at::kDouble);
    const int64_t stride = (count + kAnchors - 1) / kAnchors;
    const at::Tensor anchors = at::arange(0, count, stride, z.options().dtype(at::kLong));
    at::Tensor distance = at::cdist(z.index_select(0, anchors), z, 2.0, /*compute_mode=*/2);
    distance.scatter_(1, anchors.unsqueeze(1), std::numeric_limits<double>::infinity());
    health.nearest_distance = std::get<0>(distance.min(1)).mean().item<double>();
  }
  return health;
}

}  // namespace drop
