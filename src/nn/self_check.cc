#include "drop/nn/self_check.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "drop/nn/drop_model.h"

namespace drop {

namespace {

// float32 rounds at 6e-8 and sums some hundred terms; differences of step 1e-6 in float64 reach
// 1e-9
constexpr double kForwardTolerance = 1e-5;
constexpr double kGradientTolerance = 1e-6;
constexpr double kStep = 1e-6;

DropModel make_model(at::ScalarType type, at::Device device) {
  ModelShape shape;
  shape.state_dim = 11;
  shape.action_dim = 3;
  shape.num_subtasks = 10;
  shape.hidden_width = 64;
  DropModel model(shape, at::TensorOptions(device).dtype(type));
  RandomStream stream(0, "init");
  model.initialise(stream);
  return model;
}

at::Tensor draws(at::IntArrayRef shape, RandomStream& stream) {
  at::Tensor values = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < values.numel(); ++i) values.data_ptr<double>()[i] = stream.uniform(-1, 1);
  return values;
}

double relative(const at::Tensor& found, const at::Tensor& expected) {
  const double scale = expected.abs().max().item<double>();
  return (found.to(at::kDouble) - expected).abs().max().item<double>() / scale;
}

}  // namespace

SelfCheck run_self_check(at::Device device) {
  const DropModel exact = make_model(at::kDouble, device);
  const DropModel single = make_model(at::kFloat, device);
  RandomStream stream(0, "self_check");
  const at::Tensor states = draws({32, 11}, stream).to(device);
  const at::Tensor z = draws({32, 4, 5}, stream).to(device);

  SelfCheck check;
  const at::Tensor scores = exact.score_embeddings(exact.encode(states), z);
  const EncodedStates encoded = single.encode(states.to(at::kFloat));
  check.forward = relative(single.score_embeddings(encoded, z.to(at::kFloat)), scores);

  // derivative along one random direction, by autograd and by differences
  const at::Tensor direction = draws({32, 4, 5}, stream).to(device);
  const auto scores_at = [&](double step) {
    return exact.score_embeddings(exact.encode(states), z + direction * step);
  };
  const at::Tensor leaf = z.clone().set_requires_grad(true);
  const at::Tensor sum = exact.score_embeddings(exact.encode(states), leaf).sum();
  const at::Tensor gradient = torch::autograd::grad({sum}, {leaf})[0];
  const at::Tensor differences = (scores_at(kStep) - scores_at(-kStep)) / (2 * kStep);
  check.gradient = relative((gradient * direction).sum(-1), differences);
  check.passed = check.forward < kForwardTolerance && check.gradient < kGradientTolerance;
  return check;
}

}  // namespace drop
