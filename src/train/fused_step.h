#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "drop/config/config.h"
#include "drop/nn/drop_model.h"
#include "kernels/dense_backend.h"
#include "nn/dense_layers.h"

namespace drop {

/// Everything that a step changes, as flat tensors on the backend's device; with a seed axis in
/// front where the backend has one.
struct FusedStepState {
  const ParameterBuffer* parameters = nullptr;  ///< layout of `flat` and `target`
  const ParameterBuffer* target_parameters = nullptr;
  at::Tensor flat, target;         ///< phi, beta, f [P]; f_bar [Q]
  at::Tensor exp_avg, exp_avg_sq;  ///< Adam's moments [P]
  at::Tensor adam_step_count;      ///< float32 scalar
  at::Tensor multiplier;           ///< lambda, or its logarithm
  at::Tensor multiplier_exp_avg, multiplier_exp_avg_sq, multiplier_step_count;  ///< `log` only
};

/// A mini-batch where the step expects it: plain tensors, rows behind the batch's last are padding
/// and stay zero.
struct FusedBatch {
  at::Tensor states, actions, next_states, next_actions;  ///< [block, ...]
  at::Tensor rewards, terminals;                          ///< [block]
  at::Tensor subtasks;                                    ///< [block] int64
  at::Tensor uniform_z;                                   ///< [block, d]
  at::Tensor posterior_noise;                             ///< [block, d], of a CVAE
};

/// One training step (docs/algorithm.md) with its gradients written out by hand over a
/// DenseBackend. Computes nothing that no gradient needs: phi runs on its N rows, Enc_1(s) and its
/// product with Enc_2 serve z and z_u, the target network runs forward only, the gap sends
/// gradients into f alone, and not at all where its multiplier is zero. With a CVAE its encoder
/// stands in phi's place, on the batch's rows; without a score f stands still.
class FusedStep {
 public:
  /// @param backend  must outlive the step; its seed axis is the state's
  FusedStep(DenseBackend& backend, const ModelShape& shape, const TrainConfig& config,
            double threshold, int64_t batch_size, const FusedStepState& state);

  const FusedBatch& batch() const { return batch_; }

  /// The whole step on what `batch` holds.
  /// @param measure_gap  false: without the constraint, C is not needed in this step
  void run(bool measure_gap = true);

  /// Losses and gradients alone, no update.
  void compute_gradients(bool measure_gap = true);

  const at::Tensor& gradients() const { return gradients_; }
  const at::Tensor& metrics() const { return metrics_; }  ///< MetricSlot
  const at::Tensor& step() const { return step_; }        ///< [1] int64, steps done

 private:
  // branches of work that may run side by side
  enum Branch : int { kMain, kTargetBranch, kScoreBranch, kScoreWeights, kPolicyWeights };

  // activations of one evaluation of beta behind h, or of f
  struct PolicyPass {
    MatrixId z{}, x2{}, x3{}, x4{};
    at::Tensor mean;
  };

  void add_layers();
  void add_matrices();
  bool cvae() const { return shape_.embedding == EmbeddingKind::kCvae; }
  void forward_embedding();
  void forward_posterior();
  void forward_policy(const PolicyPass& pass, const at::Tensor& z);
  void forward_score(RowRange range);
  void forward_target();
  void backward_score(bool gap_has_gradient);
  void backward_policy();
  void backward_embedding();
  bool score_losses(bool gap);
  template <typename Body>
  void in_blocks(RowRange rows, const Body& body) const;

  DenseBackend& backend_;
  ModelShape shape_;
  TrainConfig config_;
  double threshold_;
  int64_t batch_size_;
  int64_t block_;  // batch_size with padding
  FusedStepState state_;

  DenseLayer phi_[3], beta_[6], f_[6], target_[6];  // phi_: with a CVAE its encoder

  FusedBatch batch_;
  at::Tensor gradients_, metrics_, step_;
  at::Tensor phi_out_, phi_out_gradient_;  // z_n [N, d], or the posterior [block, 2 d]
  at::Tensor z_, z_gradient_;              // [block, d]
  at::Tensor shared_;                      // what of Enc_2's first sum depends on h
  at::Tensor mean_gradient_;
  at::Tensor scores_, next_scores_, score_gradient_;

  MatrixId phi_in_{}, phi_hidden0_{}, phi_hidden1_{};  // phi_in_: of a CVAE alone
  MatrixId phi_gradient0_{}, phi_gradient1_{}, phi_gradient2_{};
  MatrixId states_{}, e0_{}, h_{};
  PolicyPass data_pass_, uniform_pass_;
  MatrixId policy_gradient_[6] = {};  // at the output of each of beta's layers
  MatrixId state_actions_{}, score_z_{}, score_hidden_[5] = {};  // f: three blocks of rows
  MatrixId score_layer_gradient_[6] = {};
  MatrixId next_state_actions_{}, next_z_{}, next_hidden_[5] = {};
};

}  // namespace drop
