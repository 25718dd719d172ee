#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "drop/base/random.h"
#include "drop/config/config.h"
#include "drop/nn/encoders.h"
#include "drop/nn/parameter_buffer.h"

namespace drop {

/// Sizes and form of the networks.
struct ModelShape {
  int64_t state_dim = 0;
  int64_t action_dim = 0;
  int64_t num_subtasks = 0;
  int64_t embedding_dim = 5;
  int64_t hidden_width = 512;
  PolicyStd policy_std = PolicyStd::kFixed;
  EmbeddingKind embedding = EmbeddingKind::kTable;
  bool bounded_embedding = true;  ///< table: phi ends in tanh
  bool encodes_actions = true;    ///< cvae: the encoder sees [s, a], else s alone
  double kl_weight = 1.0;         ///< cvae

  static ModelShape from(const ModelConfig& config, int64_t state_dim, int64_t action_dim,
                         int64_t num_subtasks);
  /// Of the box Z = [-bound, bound]^d, which mu(z) covers and the ascents stay in
  /// (docs/algorithm.md).
  double embedding_bound() const {
    return embedding == EmbeddingKind::kTable && bounded_embedding ? 1.0 : 2.0;
  }
};

/// Names and shapes of all of a model's parameters: the trained ones, then target_score.*
std::vector<ParameterSpec> parameter_specs(const ModelShape& shape);

/// phi(z|n): one-hot sub-task -> embedding, in [-1, 1]^d if bounded (paper, Figure 9: Enc_0). The
/// one-hot product is a row look-up, so the network runs on its N possible inputs only.
class TaskEmbedding {
 public:
  TaskEmbedding() = default;
  TaskEmbedding(const ParameterBuffer& parameters, const ModelShape& shape);
  /// z_0 ... z_{N-1}: [N, d]
  at::Tensor embeddings() const;

 private:
  Encoder encoder_;
};

/// q(z|s,a), a diagonal Gaussian in place of phi: the encoder of DROP+CVAE (paper, Appendix C.4;
/// beta is its decoder, N(0, I) the prior).
class PosteriorEncoder {
 public:
  struct Posterior {
    at::Tensor mean;     ///< [B, d]
    at::Tensor log_std;  ///< [B, d], in [-4, 15]
  };

  PosteriorEncoder() = default;
  PosteriorEncoder(const ParameterBuffer& parameters, const ModelShape& shape);
  /// @param states   [B, state_dim], standardised
  /// @param actions  [B, action_dim]
  Posterior forward(const at::Tensor& states, const at::Tensor& actions) const;
  /// KL(q || N(0, I)), one value a row: [B]
  static at::Tensor kl_divergence(const Posterior& posterior);

 private:
  Encoder encoder_;
  bool encodes_actions_ = true;
};

/// beta(a|s,z): Gaussian behaviour policy (Enc_1, Enc_2). h = Enc_1(s) does not depend on z.
class ContextualPolicy {
 public:
  ContextualPolicy() = default;
  ContextualPolicy(const ParameterBuffer& parameters, const ModelShape& shape);
  /// What of the mean depends on the state alone: [..., state_dim] -> [..., width]
  at::Tensor encode_state(const at::Tensor& states) const;
  /// Mean action, tanh-bounded: encoded [..., width] and z [..., d] -> [..., action_dim]
  at::Tensor mean(const at::Tensor& encoded, const at::Tensor& z) const;
  /// -log beta(a|s,z) up to a constant, one value a row: half the squared error summed over action
  /// dimensions (unit variance), or the Gaussian's with the learned standard deviation.
  at::Tensor negative_log_likelihood(const at::Tensor& mean, const at::Tensor& actions) const;
  /// Standard deviation [action_dim].
  at::Tensor std(const at::TensorOptions& options) const;

 private:
  Encoder state_encoder_;
  JoinedEncoder action_encoder_;
  at::Tensor log_std_;  // undefined with a fixed unit variance
  int64_t action_dim_ = 0;
};

/// f(s,a,z): score, a Q-value in scaled reward units (Enc_3, Enc_4).
class ScoreModel {
 public:
  ScoreModel() = default;
  /// @param prefix  "score" or "target_score"
  ScoreModel(const ParameterBuffer& parameters, const ModelShape& shape, const std::string& prefix);
  /// What depends on the state alone: [..., state_dim] -> [..., width]
  at::Tensor project_state(const at::Tensor& states) const;
  /// Scores [...] from a projected state, actions [..., action_dim] and z [..., d].
  at::Tensor score(const at::Tensor& projected, const at::Tensor& actions,
                   const at::Tensor& z) const;
  /// The same from raw inputs.
  at::Tensor forward(const at::Tensor& states, const at::Tensor& actions,
                     const at::Tensor& z) const;

 private:
  JoinedEncoder state_action_encoder_;
  JoinedEncoder score_encoder_;
};

/// All that the search needs to know of a state, computed once for all embeddings tried there.
struct EncodedStates {
  at::Tensor policy;  ///< [E, 1, width]
  at::Tensor score;   ///< [E, 1, width]
};

/// phi, beta, f and the target copy f_bar, with their parameters.
class DropModel {
 public:
  DropModel(const ModelShape& shape, const at::TensorOptions& options);
  DropModel(const DropModel&) = delete;
  DropModel& operator=(const DropModel&) = delete;
  DropModel(DropModel&&) = default;
  DropModel& operator=(DropModel&&) = default;

  /// LibTorch's default for linear layers: weights and biases uniform in +-1/sqrt(fan_in); f_bar
  /// becomes a copy of f.
  void initialise(RandomStream& stream);

  const ModelShape& shape() const { return shape_; }
  /// task_embedding.* (or encoder.* of a CVAE), policy.*, score.*
  ParameterBuffer& parameters() { return parameters_; }
  const ParameterBuffer& parameters() const { return parameters_; }
  /// target_score.*
  ParameterBuffer& target_parameters() { return target_parameters_; }
  const ParameterBuffer& target_parameters() const { return target_parameters_; }

  /// Of a table only.
  const TaskEmbedding& task_embedding() const { return task_embedding_; }
  /// Of a CVAE only.
  const PosteriorEncoder& posterior_encoder() const { return posterior_encoder_; }
  const ContextualPolicy& policy() const { return policy_; }
  const ScoreModel& score() const { return score_; }
  const ScoreModel& target_score() const { return target_score_; }

  /// @param states  [E, state_dim], standardised
  EncodedStates encode(const at::Tensor& states) const;

  /// f(s, beta(s,z), z) for M embeddings at each of E states, through the policy's mean:
  /// z [E, M, d] (or [1, M, d] for all states) -> scores [E, M] in scaled units. Differentiable in
  /// z.
  at::Tensor score_embeddings(const EncodedStates& states, const at::Tensor& z) const;

  /// Mean actions [E, action_dim] at one embedding [E, d] for each state.
  at::Tensor act(const EncodedStates& states, const at::Tensor& z) const;

 private:
  ModelShape shape_;
  ParameterBuffer parameters_;
  ParameterBuffer target_parameters_;
  TaskEmbedding task_embedding_;
  PosteriorEncoder posterior_encoder_;
  ContextualPolicy policy_;
  ScoreModel score_;
  ScoreModel target_score_;
};

/// Health of the learned embeddings [N, d] (docs/algorithm.md, "Choices of ours").
struct EmbeddingHealth {
  double nearest_distance = 0.0;  ///< mean distance to the nearest other embedding; 0 when N = 1
  double saturated_share = 0.0;   ///< share of coordinates beyond 0.99 in absolute value
};
EmbeddingHealth embedding_health(const at::Tensor& embeddings);

}  // namespace drop
