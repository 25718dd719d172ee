#pragma once

#include <cstdint>
#include <span>

#include "drop/env/vector_environment.h"
#include "drop/search/embedding_search.h"

namespace drop {

/// One step that all running episodes of an evaluation made together.
struct EvaluationStep {
  int64_t step = 0;                     ///< of the episodes, from 0
  std::span<const int64_t> episodes;    ///< [n] the episodes that were running
  std::span<const double> states;       ///< [n, state_dim] raw, before the step
  std::span<const double> actions;      ///< [n, action_dim]
  std::span<const double> next_states;  ///< [n, state_dim] raw, after the step
  std::span<const StepResult> results;  ///< [n]
  const Inference& inference;  ///< embeddings that acted [n, d], where their search began [n], and
                               ///< their scores at these states [n], in scaled units
};

/// Looks on while an evaluation runs: a trace, a video. Changes nothing.
class EvaluationObserver {
 public:
  virtual ~EvaluationObserver() = default;
  /// All episodes stand at their start states.
  virtual void on_start(const VectorEnvironment& environments) = 0;
  /// The environments have made the step.
  virtual void on_step(const EvaluationStep& step, const VectorEnvironment& environments) = 0;
};

}  // namespace drop
