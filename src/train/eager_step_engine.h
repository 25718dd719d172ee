#pragma once

#include "drop/train/step_engine.h"

namespace drop {

/// The reference: eager LibTorch operators and autograd, on any device and in any type. Other
/// engines are held against it.
class EagerStepEngine : public StepEngine {
 public:
  /// @param sampler  may be null when only `step` is used
  EagerStepEngine(TrainState& state, const Sampler* sampler, const TrainConfig& config);

  std::string_view name() const override { return "eager"; }
  void advance(int64_t count) override;
  StepMetrics metrics(size_t seed = 0) const override;
  std::optional<BadStep> first_bad_step(size_t seed = 0) const override;

  /// One step on a given batch.
  void step(const Batch& batch, const StepNoise& noise);
  /// Losses and gradients of a given batch, no update: gradients of all parameters, flat.
  LossTerms compute_gradients(const Batch& batch, const StepNoise& noise);
  /// Adds policy improvement to the losses (online fine-tuning).
  void improve_policy(double weight) { settings_.improvement = weight; }
  const ParameterBuffer& gradients() const { return gradients_; }

 private:
  TrainState& state_;
  const Sampler* sampler_;
  LossSettings settings_;
  bool conservative_;
  double target_rate_;
  ParameterBuffer gradients_;
  at::Tensor score_segment_;  // f's part of the flat parameters
  LossTerms last_;
  at::Tensor first_bad_;  // float64 [4] on the device: step (-1 = none), behaviour, td, gap
};

}  // namespace drop
