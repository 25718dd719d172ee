#pragma once

#include <memory>
#include <utility>

#include "drop/base/random.h"
#include "drop/data/sampler.h"
#include "drop/nn/drop_model.h"

namespace drop::testing {

/// Sizes of the made data's models.
inline ModelShape made_shape() {
  ModelShape shape;
  shape.state_dim = 4;
  shape.action_dim = 3;
  shape.num_subtasks = 5;
  shape.embedding_dim = 2;
  shape.hidden_width = 16;
  return shape;
}

/// Batches of five made trajectories of 20 random rows, a sub-task each; two end by terminals.
inline std::unique_ptr<Sampler> made_sampler(int64_t batch_size, int64_t subtasks_per_batch = 0,
                                             at::Device device = at::kCPU) {
  constexpr int64_t kLength = 20;
  const ModelShape shape = made_shape();
  TrajectoryDataset set;
  set.path = "made";
  set.rows = shape.num_subtasks * kLength;
  set.state_dim = shape.state_dim;
  set.action_dim = shape.action_dim;
  RandomStream stream(3, "test");
  for (int64_t i = 0; i < set.rows * set.state_dim; ++i)
    set.observations.push_back(static_cast<float>(stream.uniform(-1, 1)));
  for (int64_t i = 0; i < set.rows * set.action_dim; ++i)
    set.actions.push_back(static_cast<float>(stream.uniform(-1, 1)));
  for (int64_t row = 0; row < set.rows; ++row) {
    set.rewards.push_back(stream.uniform(0, 1));
    set.terminals.push_back(row % kLength == kLength - 1 && row < set.rows / 2);
    set.timeouts.push_back(row % kLength == kLength - 1);
  }
  std::vector<Trajectory> trajectories;
  Decomposition decomposition;
  for (int64_t n = 0; n < shape.num_subtasks; ++n) {
    Trajectory trajectory;
    trajectory.begin = n * kLength;
    trajectory.end = (n + 1) * kLength;
    trajectories.push_back(trajectory);
    Subtask subtask;
    subtask.trajectories = {n};
    decomposition.subtasks.push_back(subtask);
  }
  const Normaliser normaliser = fit_normaliser(set.observations, set.state_dim);
  return std::make_unique<Sampler>(std::move(set), trajectories, decomposition, normaliser,
                                   RewardTransform{0.1, 0.0},
                                   SamplerOptions{batch_size, subtasks_per_batch, 7}, device);
}

}  // namespace drop::testing
