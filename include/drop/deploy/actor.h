#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "drop/search/embedding_search.h"

namespace drop {

/// Acts in several episodes at once: what an evaluation rolls out.
class Actor {
 public:
  virtual ~Actor() = default;

  virtual int64_t state_dim() const = 0;
  virtual int64_t action_dim() const = 0;

  /// Begins `episodes` new episodes; what is random in episode i comes from streams of `seed` and
  /// first + i.
  virtual void begin(int64_t episodes, uint64_t seed, uint64_t first) = 0;

  /// Actions in [-1, 1] for the states of some of the episodes.
  /// @param episodes  [n] indices of the episodes that are still running
  /// @param states    [n, state_dim] raw states, row-major
  /// @return          [n, action_dim] row-major
  virtual std::vector<double> act(std::span<const int64_t> episodes,
                                  std::span<const double> states) = 0;

  /// What acted in the latest `act`, for observers; empty where there are no embeddings.
  virtual Inference latest() const { return {}; }
};

}  // namespace drop
