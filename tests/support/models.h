#pragma once

#include <ATen/ATen.h>

#include <string>

#include "drop/base/random.h"
#include "drop/nn/checkpoint.h"
#include "drop/nn/drop_model.h"

namespace drop::testing {

/// A small model with LibTorch's default initialisation.
inline DropModel small_model(at::ScalarType type = at::kDouble,
                             PolicyStd policy_std = PolicyStd::kFixed, int64_t num_subtasks = 4) {
  ModelShape shape;
  shape.state_dim = 3;
  shape.action_dim = 2;
  shape.num_subtasks = num_subtasks;
  shape.embedding_dim = 2;
  shape.hidden_width = 8;
  shape.policy_std = policy_std;
  DropModel model(shape, at::TensorOptions(type));
  RandomStream stream(7, "init");
  model.initialise(stream);
  return model;
}

/// An untrained model of a task's sizes, ready to act there.
inline TrainedModel untrained(const std::string& task, const std::string& dataset,
                              int64_t state_dim, int64_t action_dim) {
  ModelShape shape;
  shape.state_dim = state_dim;
  shape.action_dim = action_dim;
  shape.num_subtasks = 6;
  shape.embedding_dim = 3;
  shape.hidden_width = 16;
  TrainedModel trained{{}, DropModel(shape, at::TensorOptions(at::kFloat)), {}, {}, {}};
  RandomStream stream(5, "init");
  trained.model.initialise(stream);
  trained.origin.task = task;
  trained.origin.dataset = dataset;
  trained.origin.data_return_mean = 50.0;
  trained.state_mean = at::zeros({state_dim}, at::kFloat);
  trained.state_std = at::ones({state_dim}, at::kFloat);
  trained.embeddings = trained.model.task_embedding().embeddings();
  return trained;
}

/// Uniform values in [low, high) of a named test stream.
inline at::Tensor uniform(at::IntArrayRef shape, uint64_t seed, double low = -1.0,
                          double high = 1.0) {
  RandomStream stream(seed, "test");
  at::Tensor values = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < values.numel(); ++i)
    values.data_ptr<double>()[i] = stream.uniform(low, high);
  return values;
}

}  // namespace drop::testing
