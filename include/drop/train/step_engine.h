#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "drop/config/config.h"
#include "drop/data/sampler.h"
#include "drop/nn/drop_model.h"
#include "drop/train/losses.h"
#include "drop/train/train_state.h"

namespace drop {

/// Measurements of one step, in scaled reward units; those of the score are 0 without one.
struct StepMetrics {
  double behaviour = 0.0;
  double kl = 0.0;  ///< cvae
  double td = 0.0;
  double conservative_gap = 0.0;
  double multiplier = 0.0;  ///< after the step
  double mean_score = 0.0;
};

/// The first step whose losses were not finite, with these losses.
struct BadStep {
  int64_t step = 0;
  double behaviour = 0.0;
  double td = 0.0;
  double conservative_gap = 0.0;
};

/// Carries out training steps (Algorithm 1): losses and gradients from the parameters and the
/// multiplier as they are before the step, then each optimiser once, then f_bar.
class StepEngine {
 public:
  virtual ~StepEngine() = default;
  virtual std::string_view name() const = 0;
  /// Runs `count` steps, of every seed, with batches of the samplers given at construction.
  virtual void advance(int64_t count) = 0;
  /// Measurements of the last step of one seed, counted as given at construction (waits for the
  /// device).
  virtual StepMetrics metrics(size_t seed = 0) const = 0;
  /// The first step of one seed that went wrong, if any has (waits for the device).
  virtual std::optional<BadStep> first_bad_step(size_t seed = 0) const = 0;
};

/// One of the seeds that an engine trains: its state and its batches. Both must outlive the engine.
struct SeedRun {
  TrainState* state = nullptr;
  const Sampler* sampler = nullptr;
};

/// What `auto` stands for: `graph` on a GPU, else `fused`.
StepEngineKind resolved_engine(StepEngineKind kind, at::Device device);

/// @param kind       `auto` as in resolved_engine
/// @param precision  of the products; the eager engine knows fp32 and tf32
/// @param seeds      runs of one config that differ in their seed alone, all at the same step;
///                   `graph` trains them in one batch, the others one after the other
/// Throws UsageError for an engine or precision that this build or machine lacks.
std::unique_ptr<StepEngine> make_step_engine(StepEngineKind kind, Precision precision,
                                             const std::vector<SeedRun>& seeds,
                                             const TrainConfig& config);

/// Where deployment starts from, z_0 ... z_{N-1} [N, d]: phi's embeddings; with a CVAE N
/// samples of its prior, or the encodings (means) of N transitions of the data, clipped to the box.
at::Tensor deployment_embeddings(const DropModel& model, StartKind starts, const Sampler& sampler);

/// The random numbers of a training step: a pure function of (seed, step).
StepNoise draw_noise(uint64_t seed, int64_t step, int64_t batch_size, const ModelShape& shape,
                     const at::TensorOptions& options);

/// Uniform over [-1, 1)^d, of a training step: a pure function of (seed, step). [B, d]
at::Tensor draw_uniform_z(uint64_t seed, int64_t step, int64_t batch_size, int64_t embedding_dim,
                          const at::TensorOptions& options);

}  // namespace drop
