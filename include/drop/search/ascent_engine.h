#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "drop/config/config.h"
#include "drop/nn/drop_model.h"

namespace drop {

/// Gradient ascent in the embedding space (paper, Equation 9):
///   z <- clip_Z(z + alpha * d/dz f(s, beta(s,z), z)), K times,
/// the gradient taken through the policy's mean as well.
struct AscentOptions {
  int64_t steps = 100;              ///< K
  double step_size = 0.01;          ///< alpha, on the raw gradient of the scaled score
  bool clip = true;                 ///< keep z in the box
  double bound = 1.0;               ///< the box Z = [-bound, bound]^d
  bool normalise_gradient = false;  ///< unit-norm gradients; a zero gradient leaves z where it is
  bool keep_best_iterate = false;   ///< best of all K+1 iterates, the earliest on ties

  /// @param bound  of the box Z (ModelShape::embedding_bound)
  static AscentOptions from(const SearchConfig& config, double bound);
};

struct AscentResult {
  at::Tensor embeddings;  ///< end points [E, N, d]
  at::Tensor scores;      ///< their scores [E, N], scaled units
};

/// Runs ascents for E states and N starts each, all in one batch.
class AscentEngine {
 public:
  virtual ~AscentEngine() = default;
  virtual std::string_view name() const = 0;
  /// @param states  [E, state_dim], standardised
  /// @param starts  [E, N, d]
  virtual AscentResult run(const at::Tensor& states, const at::Tensor& starts,
                           const AscentOptions& options) = 0;
};

/// @param kind       auto: `cuda` on a GPU, else `cpu`
/// @param precision  of the products; `autograd` knows fp32 and tf32. Scores of end points are
///                   float32 in any case
/// @param model      must outlive the engine; the fast engines take its parameters over now
/// Throws UsageError for an engine or precision that this build or machine lacks.
std::unique_ptr<AscentEngine> make_ascent_engine(AscentEngineKind kind, Precision precision,
                                                 const DropModel& model);

}  // namespace drop
