#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "drop/data/decomposition.h"
#include "drop/data/normaliser.h"
#include "drop/data/trajectory_dataset.h"

namespace drop {

/// A mini-batch of B transitions on the training device, float32 unless said otherwise.
struct Batch {
  at::Tensor states;        ///< [B, state_dim], standardised
  at::Tensor actions;       ///< [B, action_dim]
  at::Tensor rewards;       ///< [B], reward_scale * (r + reward_shift)
  at::Tensor next_states;   ///< [B, state_dim], standardised
  at::Tensor next_actions;  ///< [B, action_dim], of the same trajectory
  at::Tensor terminals;     ///< [B], 1 masks the bootstrap
  at::Tensor subtasks;      ///< [B] int64, the sub-task n of each row
};

/// What a batch was made of: for the report of a step that went wrong.
struct DrawnRows {
  std::vector<int64_t> subtasks;  ///< [B]
  std::vector<int64_t> rows;      ///< [B], rows of the data file
};

/// How training sees the rewards: f is trained on scale * (r + shift) (spec 3, "Score scale").
struct RewardTransform {
  double scale = 1.0;
  double shift = 0.0;
};

struct SamplerOptions {
  int64_t batch_size = 1024;
  int64_t subtasks_per_batch = 0;  ///< 0 = each row draws its own sub-task
  uint64_t seed = 0;
};

/// Draws mini-batches: n uniform over sub-tasks, then a transition uniform within D_n (spec 3,
/// step 1). The data live on the training device. A batch is a pure function of (seed, step), so
/// that a resumed run continues exactly and any batch can be drawn again.
class Sampler {
 public:
  /// Takes the data over (states are standardised in place, so nothing is held twice on a CPU).
  /// @param trajectories  the list that was decomposed
  Sampler(TrajectoryDataset dataset, std::span<const Trajectory> trajectories,
          const Decomposition& decomposition, const Normaliser& normaliser,
          const RewardTransform& rewards, const SamplerOptions& options, at::Device device);

  // its tensors share memory with its data set
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;

  /// The batch of a training step.
  Batch draw(int64_t step) const;

  /// Only the indices of that batch, on the host.
  DrawnRows draw_rows(int64_t step) const;

  int64_t batch_size() const { return options_.batch_size; }

 private:
  SamplerOptions options_;
  at::Device device_;
  TrajectoryDataset dataset_;             // owns the memory of the tensors on a CPU
  std::vector<int64_t> transition_rows_;  // sampleable rows, sub-task after sub-task
  std::vector<int64_t> offsets_;          // [N + 1] into transition_rows_
  int64_t last_row_ = 0;
  at::Tensor states_, actions_, rewards_, terminals_;  // [rows, ...]
};

}  // namespace drop
