#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "drop/base/random.h"
#include "drop/config/config.h"
#include "drop/deploy/actor.h"
#include "drop/nn/checkpoint.h"
#include "drop/search/embedding_search.h"

namespace drop {

/// A trained model acting by one inference rule in several episodes at once.
///   pi*(a|s) = beta(a|s, z*)
class Policy final : public Actor {
 public:
  /// @param trained  must outlive the policy
  /// @param config   ascent settings; with `sample` actions are drawn, otherwise the mean acts
  /// @param precision  of the ascent's products; scores and actions are float32 in any case
  Policy(const TrainedModel& trained, const SearchConfig& config, InferenceRuleKind rule,
         Precision precision = Precision::kFp32);

  int64_t state_dim() const override { return trained_.model.shape().state_dim; }
  int64_t action_dim() const override { return trained_.model.shape().action_dim; }

  /// Episode i samples its actions from the stream (seed, "eval", first + i).
  void begin(int64_t episodes, uint64_t seed, uint64_t first = 0) override;

  std::vector<double> act(std::span<const int64_t> episodes,
                          std::span<const double> states) override;

  /// What acted in the latest `act`: embeddings [n, d], the sub-tasks [n] that their search started
  /// from, and their scores [n] at these states (a forward pass more where they were not searched
  /// here).
  Inference latest() const override;

  /// The rule's answer at raw states [E, state_dim], no episode involved.
  Inference infer(const at::Tensor& raw_states);
  /// Mean actions [E, action_dim] at raw states and embeddings.
  at::Tensor mean_actions(const at::Tensor& raw_states, const at::Tensor& embeddings) const;

 private:
  const TrainedModel& trained_;
  bool sample_;
  EmbeddingSearch search_;
  std::unique_ptr<InferenceRule> rule_;
  Inference kept_;                   // [episodes], of rules that keep theirs for the episode
  std::vector<bool> begun_;          // episode has its embedding
  std::vector<RandomStream> noise_;  // one for each episode
  at::Tensor states_;                // of the latest act, raw [n, state_dim]
  Inference latest_;                 // of the latest act, without scores where it was kept
};

}  // namespace drop
