#include "drop/nn/encoders.h"

#include <ATen/ATen.h>

namespace drop {

Encoder::Encoder(const ParameterBuffer& parameters, const std::string& prefix, OutputForm output)
    : output_(output) {
  for (int layer = 0; parameters.contains(prefix + "." + std::to_string(layer) + ".weight");
       ++layer) {
    weights_.push_back(parameters.view(prefix + "." + std::to_string(layer) + ".weight"));
    biases_.push_back(parameters.view(prefix + "." + std::to_string(layer) + ".bias"));
  }
}

void Encoder::append_specs(std::vector<ParameterSpec>& specs, const std::string& prefix,
                           const std::vector<int64_t>& sizes) {
  for (size_t layer = 0; layer + 1 < sizes.size(); ++layer) {
    const std::string name = prefix + "." + std::to_string(layer);
    specs.push_back({name + ".weight", {sizes[layer + 1], sizes[layer]}, sizes[layer]});
    specs.push_back({name + ".bias", {sizes[layer + 1]}, sizes[layer]});
  }
}

at::Tensor Encoder::forward(const at::Tensor& input) const {
  return forward_from_first(at::linear(input, weights_.front(), biases_.front()));
}

at::Tensor Encoder::forward_from_first(const at::Tensor& first) const {
  at::Tensor x = first;
  for (size_t layer = 1; layer < weights_.size(); ++layer) {
    x = at::linear(at::relu(x), weights_[layer], biases_[layer]);
  }
  switch (output_) {
    case OutputForm::kRelu:
      return at::relu(x);
    case OutputForm::kTanh:
      return at::tanh(x);
    case OutputForm::kLinear:
      break;
  }
  return x;
}

JoinedEncoder::JoinedEncoder(const ParameterBuffer& parameters, const std::string& prefix,
                             int64_t x_dim, OutputForm output)
    : encoder_(parameters, prefix, output), x_dim_(x_dim) {}

at::Tensor JoinedEncoder::project(const at::Tensor& x) const {
  return at::linear(x, encoder_.first_weight().narrow(1, 0, x_dim_), encoder_.first_bias());
}

at::Tensor JoinedEncoder::forward(const at::Tensor& projected, const at::Tensor& y) const {
  const at::Tensor& weight = encoder_.first_weight();
  const at::Tensor share = at::linear(y, weight.narrow(1, x_dim_, weight.size(1) - x_dim_));
  return encoder_.forward_from_first(projected + share);
}

}  // namespace drop
