#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "drop/config/config.h"
#include "drop/nn/checkpoint.h"
#include "drop/search/ascent_engine.h"

namespace drop {

/// The embedding chosen at each of E states.
struct Inference {
  at::Tensor embeddings;  ///< z* [E, d]
  at::Tensor subtasks;    ///< [E] int64: the sub-task whose embedding the search started from
  at::Tensor scores;      ///< [E] f(s, beta(s,z*), z*) in scaled units, float32
};

/// One of the four rules (paper, Section 5 and Algorithm 2).
class InferenceRule {
 public:
  virtual ~InferenceRule() = default;
  virtual InferenceRuleKind kind() const = 0;
  /// true: infer at every state; false: at an episode's first state only, kept for the episode.
  virtual bool adapts() const = 0;
  /// @param states  [E, state_dim], standardised
  virtual Inference infer(const at::Tensor& states) = 0;
};

/// What the rules are made of: scores of all sub-tasks' embeddings, and ascents from them.
class EmbeddingSearch {
 public:
  /// @param trained    must outlive the search
  /// @param precision  of the ascent's products (see make_ascent_engine)
  EmbeddingSearch(const TrainedModel& trained, const SearchConfig& config,
                  Precision precision = Precision::kFp32);

  /// argmax over n of f(s, beta(s,z_n), z_n); ties go to the lower n.
  Inference best(const at::Tensor& states) const;

  /// K ascent steps from one start at each state (`best`'s answer).
  Inference ascend_from(const at::Tensor& states, const Inference& start) const;

  /// K ascent steps from every z_n; the end point with the highest score, ties to the lower n.
  Inference ascend_from_all(const at::Tensor& states) const;

 private:
  const TrainedModel& trained_;
  AscentOptions options_;
  std::unique_ptr<AscentEngine> engine_;
};

/// @param search  must outlive the rule
std::unique_ptr<InferenceRule> make_inference_rule(InferenceRuleKind kind,
                                                   const EmbeddingSearch& search);

}  // namespace drop
