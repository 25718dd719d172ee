#include "nn/dense_layers.h"

namespace drop {

DenseLayer DenseLayers::layer(const std::string& prefix, int index, int64_t split,
                              bool input_gradient) {
  const std::string name = prefix + "." + std::to_string(index);
  const std::vector<int64_t>& shape = parameters_.spec(name + ".weight").shape;
  const int64_t offset = parameters_.offset(name + ".weight");
  const int64_t inputs = shape[1];
  WeightPart part;
  part.offset = offset;
  part.out = shape[0];
  part.columns = split > 0 ? split : inputs;
  part.stride = inputs;
  part.target = target_;
  part.input_gradient = input_gradient && !target_;

  DenseLayer layer;
  layer.bias = parameters_.offset(name + ".bias");
  layer.weight = backend_.add_weight(part);
  if (split > 0) {
    part.offset += split;
    part.columns = inputs - split;
    part.input_gradient = !target_;
    layer.joined = backend_.add_weight(part);
  }
  return layer;
}

}  // namespace drop
