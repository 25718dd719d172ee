#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/dense_backend.h"

namespace drop {

/// What ends a training step of the CPU backends that keep packed copies of the weights: Adam, the
/// soft target update and the packing of the changed weights in one pass over memory. Needs a CPU
/// with AVX-512.
class PackedUpdate {
 public:
  /// @param parts  the backend's weights
  /// @param rows   of a weight that are packed together
  PackedUpdate(const std::vector<WeightPart>& parts, int64_t rows, const ParameterUpdate& update);

  /// @param pack  packs rows [group * rows, (group + 1) * rows) of a weight; called on all threads
  /// Returns false when a gradient is not finite. Counts the update's step up. Denormal numbers
  /// count as zero.
  bool run(const ParameterUpdate& update,
           const std::function<void(size_t weight, int64_t group)>& pack) const;

 private:
  // groups of rows that are packed once all parameters of [begin, end) have changed
  struct Chunk {
    struct Pack {
      size_t weight;
      int64_t group;
    };
    int64_t begin;
    int64_t end;
    std::vector<Pack> packs;
  };
  std::vector<Chunk> chunks_;  // all parameters, in order
};

}  // namespace drop
