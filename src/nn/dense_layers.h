#pragma once

#include <cstdint>
#include <string>

#include "drop/nn/parameter_buffer.h"
#include "kernels/dense_backend.h"

namespace drop {

/// A linear layer as a DenseBackend knows it: the part of its weight that belongs to its first
/// inputs, the part that belongs to the rest (where the layer joins two inputs), and its bias.
struct DenseLayer {
  WeightId weight{};  ///< of the first inputs, or of all
  WeightId joined{};  ///< of the rest
  int64_t bias = 0;   ///< offset in the flat parameters
};

/// Makes a backend's weights from the layers of a ParameterBuffer.
class DenseLayers {
 public:
  /// @param target  the buffer holds the target network: forward only
  DenseLayers(DenseBackend& backend, const ParameterBuffer& parameters, bool target = false)
      : backend_(backend), parameters_(parameters), target_(target) {}

  /// The layer `PREFIX.INDEX`.
  /// @param split  number of first inputs; 0 = the layer has one input
  /// @param input_gradient  false when no gradient goes through the (first) inputs
  DenseLayer layer(const std::string& prefix, int index, int64_t split = 0,
                   bool input_gradient = true);

 private:
  DenseBackend& backend_;
  const ParameterBuffer& parameters_;
  bool target_;
};

}  // namespace drop
