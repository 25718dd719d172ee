#pragma once

#include "drop/data/normaliser.h"
#include "drop/deploy/actor.h"
#include "drop/train/coms.h"

namespace drop {

/// A policy given by its weights, as COMs finds one.
class ComsPolicy final : public Actor {
 public:
  /// @param weights     [P] of one policy of the form
  /// @param normaliser  of the states that it was fitted to
  ComsPolicy(BatchedMlp form, const at::Tensor& weights, const Normaliser& normaliser);

  int64_t state_dim() const override { return form_.sizes.front(); }
  int64_t action_dim() const override { return form_.sizes.back(); }
  void begin(int64_t /*episodes*/, uint64_t /*seed*/, uint64_t /*first*/) override {}
  std::vector<double> act(std::span<const int64_t> episodes,
                          std::span<const double> states) override;

 private:
  BatchedMlp form_;
  at::Tensor weights_;     // [1, P]
  at::Tensor state_mean_;  // [state_dim]
  at::Tensor state_std_;
};

}  // namespace drop
