#pragma once

#include <memory>

#include "drop/train/step_engine.h"
#include "train/fused_step.h"

namespace drop {

/// Steps with hand-written gradients on one CPU: float32 (float64 in tests) or bfloat16 products.
class FusedStepEngine : public StepEngine {
 public:
  /// @param sampler  may be null when only `step` and `compute_gradients` are used
  FusedStepEngine(TrainState& state, const Sampler* sampler, const TrainConfig& config,
                  int64_t batch_size, Precision precision);

  std::string_view name() const override { return "fused"; }
  void advance(int64_t count) override;
  StepMetrics metrics(size_t seed = 0) const override;
  std::optional<BadStep> first_bad_step(size_t seed = 0) const override;

  /// One step on a given batch.
  void step(const Batch& batch, const StepNoise& noise);
  /// Losses and gradients of a given batch, no update.
  void compute_gradients(const Batch& batch, const StepNoise& noise);
  /// Gradients of all parameters, flat.
  const at::Tensor& gradients() const { return step_.gradients(); }

 private:
  void take(const Batch& batch, const StepNoise& noise);
  void draw();
  void run(bool measure_gap);

  TrainState& state_;
  const Sampler* sampler_;
  std::unique_ptr<DenseBackend> backend_;
  FusedStep step_;
};

/// A train state's tensors as the fused step takes them.
FusedStepState fused_state_of(TrainState& state);

/// Measurements out of a metrics row [kMetricSlots] on the host.
StepMetrics step_metrics_of(const at::Tensor& slots);
std::optional<BadStep> bad_step_of(const at::Tensor& slots);

}  // namespace drop
