#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "drop/base/random.h"
#include "drop/config/config.h"
#include "drop/data/decomposition.h"
#include "drop/data/normaliser.h"
#include "drop/data/sampler.h"
#include "drop/log/metrics.h"
#include "drop/nn/checkpoint.h"
#include "drop/train/adam.h"

/// The baseline COMs (conservative objective models: Trabucco, Kumar, Geng and Levine, ICML 2021)
/// as the paper runs it (Appendix D): a design is all weights of a behaviour policy, its score the
/// return of the data that the policy was fitted to; the design that gradient ascent on a
/// conservative score model finds acts.
namespace drop {

/// COMs' numbers that no key of the config stands for. "COMs": of that paper or, where it is
/// silent, of its authors' code (brandontrabucco/design-baselines, coms_cleaned); "paper": DROP's.
struct ComsSettings {
  int64_t policy_width = 64;          ///< of both hidden layers; paper, Appendix D
  double negative_slope = 0.3;        ///< of f's leaky ReLU; COMs
  double score_learning_rate = 3e-4;  ///< Adam on f; COMs
  int64_t score_steps = 200;          ///< on all N designs each; ours
  int64_t adversary_steps = 50;       ///< T of the ascents in training; COMs
  double step_size = 0.05;            ///< of all ascents, times sqrt(P); COMs
  double initial_alpha = 1.0;         ///< COMs
  double alpha_rate = 0.01;           ///< COMs
  double overestimation_limit = 0.5;  ///< tau, in standard deviations of the objective; COMs
  double std_floor = 1e-4;            ///< added to standard deviations; ours
};

/// Multilayer perceptrons of one form, K at once; the parameters of each are a row of one tensor:
/// layer by layer the weight [out, in], then the bias [out].
struct BatchedMlp {
  std::vector<int64_t> sizes;   ///< inputs, hidden units ..., outputs
  double negative_slope = 0.0;  ///< of the hidden layers' leaky ReLU; 0 = ReLU
  bool tanh = false;            ///< behind the last layer

  /// P, the parameters of one of them.
  int64_t parameter_count() const;
  /// Weights and biases uniform within 1 / sqrt(inputs of the layer): [P] float32.
  at::Tensor initial(RandomStream& stream) const;
  /// @param parameters  [K, P]
  /// @param inputs      [K, B, in]
  /// @return            [K, B, out]
  at::Tensor forward(const at::Tensor& parameters, const at::Tensor& inputs) const;

  /// What is behind the first layer, from its output [K, B, hidden] before the activation.
  at::Tensor forward_from_first(const std::vector<at::Tensor>& layers,
                                const at::Tensor& first) const;
  /// Views of some parameters [K, P]: of each layer the weight [K, in, out], then the bias [K, 1,
  /// out].
  std::vector<at::Tensor> layers(const at::Tensor& parameters) const;
};

/// The behaviour policy of the paper's Appendix D: ReLU, actions bounded by tanh (ours).
BatchedMlp coms_policy_form(int64_t state_dim, int64_t action_dim, const ComsSettings& settings);
/// The score model f: a design [P] to its score.
BatchedMlp coms_score_form(int64_t design_size, int64_t hidden_width, const ComsSettings& settings);

/// Fits N policies at once, each to its own data and with its own Adam. All begin at the same
/// weights, so that the designs stay in one basin and what lies between them is a policy too
/// (ours).
class PolicyFits {
 public:
  /// @param initial  [P]
  PolicyFits(BatchedMlp form, const at::Tensor& initial, int64_t count, double learning_rate);

  /// One step on -log of a unit Gaussian but for its constant: half the squared error.
  /// @param states   [N, B, state_dim], standardised
  /// @param actions  [N, B, action_dim]
  /// @return         loss of each policy before the step [N]
  at::Tensor step(const at::Tensor& states, const at::Tensor& actions);

  const at::Tensor& designs() const { return designs_; }  ///< [N, P]

 private:
  BatchedMlp form_;
  at::Tensor designs_;
  Adam adam_;
};

/// (x - mean) / std for each column.
struct ColumnScaler {
  at::Tensor mean;  ///< [D]
  at::Tensor std;   ///< [D], the divisor

  at::Tensor apply(const at::Tensor& rows) const;
  at::Tensor undo(const at::Tensor& rows) const;
};

/// @param rows   [N, D]
/// @param floor  added to the population standard deviation
ColumnScaler fit_column_scaler(const at::Tensor& rows, double floor);

/// x <- x + step_size d/dx f(x), `steps` times, for each design by itself. The steps are made in
/// the few hidden units that the first layer sends the many coordinates of a design to: d/dx f =
/// W^T g, where g is the gradient at the first layer's output h, so that h moves by step_size W W^T
/// g.
/// @param parameters  of f [S]
/// @param designs     [N, P], standardised; unchanged
at::Tensor ascend_designs(const BatchedMlp& form, const at::Tensor& parameters,
                          const at::Tensor& designs, int64_t steps, double step_size);

/// What one step of the score model saw.
struct ScoreFitTerms {
  double squared_error = 0.0;
  double overestimation = 0.0;  ///< mean f at the adversarial designs minus mean f at the data's
  double alpha = 0.0;           ///< after the step
};

/// Trains f: mean (f(x) - y)^2 + alpha (mean f(x') - mean f(x)), where x' are the designs x after
/// an ascent on f (no gradient through it); alpha by projected dual ascent, alpha >= 0, on
/// overestimation - tau (the authors' code has Adam on its logarithm).
class ScoreFit {
 public:
  /// @param initial  parameters of f [S]
  ScoreFit(BatchedMlp form, const at::Tensor& initial, const ComsSettings& settings);

  /// @param designs     [N, P], standardised
  /// @param objectives  [N], standardised
  ScoreFitTerms step(const at::Tensor& designs, const at::Tensor& objectives);

  const at::Tensor& parameters() const { return parameters_; }
  double alpha() const { return alpha_; }

 private:
  BatchedMlp form_;
  ComsSettings settings_;
  at::Tensor parameters_;
  Adam adam_;
  double alpha_;
};

/// All that COMs learned, on the training device.
struct ComsModel {
  BatchedMlp policy;
  BatchedMlp score;
  at::Tensor designs;          ///< [N, P] weights of the fitted policies
  at::Tensor objectives;       ///< [N] mean undiscounted return of each sub-task
  ColumnScaler design_scaler;  ///< over the N designs
  ColumnScaler objective_scaler;
  at::Tensor score_parameters;  ///< of f [S]
  at::Tensor inferred;          ///< [P] weights of the policy that acts
};

/// Rows of the data, `batch_size` for each sub-task, uniform within it: [N * batch_size] int64 on
/// the host. A pure function of (seed, step).
at::Tensor draw_rows_of_each(const Sampler& sampler, uint64_t seed, int64_t step,
                             int64_t batch_size);

/// Called after steps of the policies (1 ... train.steps, every train.log_every) and then after
/// those of the score model, which are counted on.
using ComsReporter = std::function<void(int64_t step, const MetricValues& values)>;

/// Fits the N policies (train.steps, batch_size rows of each, learning_rate), then f
/// (model.hidden_width), then ascends `search.ascent_steps` steps from the design with the best
/// return. Throws Interrupted on SIGINT/SIGTERM, RunError when something is not finite.
ComsModel train_coms(const Config& config, const ComsSettings& settings, const Sampler& sampler,
                     const Decomposition& decomposition, const ComsReporter& report);

/// Writes a run's coms.safetensors atomically: policies, returns, score model, what acts,
/// normaliser.
void save_coms(const std::filesystem::path& path, const ComsModel& model, const ModelOrigin& origin,
               const Normaliser& normaliser);

}  // namespace drop
