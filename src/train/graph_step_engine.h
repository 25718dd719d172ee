#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "drop/train/step_engine.h"
#include "train/fused_step.h"

namespace drop {

/// Steps on a GPU that the host only starts: sampling, losses, gradients, optimisers and target
/// update of one step, or of several in a row, are recorded once as a CUDA graph and replayed.
/// Nothing waits for the device but `metrics` and `first_bad_step`. Several seeds are trained in
/// one batch.
class GraphStepEngine : public StepEngine {
 public:
  /// @param seeds  at least one; the same shapes, the same step, the same batch size
  /// Throws UsageError where there is no GPU.
  GraphStepEngine(std::vector<SeedRun> seeds, const TrainConfig& config, Precision precision);
  ~GraphStepEngine() override;

  std::string_view name() const override { return "graph"; }
  void advance(int64_t count) override;
  StepMetrics metrics(size_t seed = 0) const override;
  std::optional<BadStep> first_bad_step(size_t seed = 0) const override;

 private:
  // [seeds, ...] and the tensor of each seed
  using Stacked = std::pair<at::Tensor, std::vector<at::Tensor>>;

  FusedStepState stack_states();
  void upload_sources();
  void sample();
  void step(bool measure_gap);
  void steps(int64_t count, bool measure_gap);
  at::Tensor slots(size_t seed) const;

  std::vector<SeedRun> seeds_;
  TrainConfig config_;
  std::unique_ptr<DenseBackend> backend_;
  std::vector<Stacked> stacked_;  // empty with one seed, whose own tensors are used
  std::unique_ptr<FusedStep> step_;
  std::vector<at::Tensor> tables_;  // transition rows and offsets of each seed
  at::Tensor sources_;              // cuda::SamplingSource of each seed
};

}  // namespace drop
