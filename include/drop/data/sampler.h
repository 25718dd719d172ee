#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "drop/data/decomposition.h"
#include "drop/data/normaliser.h"
#include "drop/data/trajectory_dataset.h"

namespace drop {

class RandomStream;

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

/// The caller's memory for a mini-batch of B transitions, row-major; the fields are `Batch`'s.
struct RawBatch {
  float* states = nullptr;        ///< [B, state_dim]
  float* actions = nullptr;       ///< [B, action_dim]
  float* rewards = nullptr;       ///< [B]
  float* next_states = nullptr;   ///< [B, state_dim]
  float* next_actions = nullptr;  ///< [B, action_dim]
  float* terminals = nullptr;     ///< [B]
  int64_t* subtasks = nullptr;    ///< [B]
};

/// What a batch was made of: for the report of a step that went wrong.
struct DrawnRows {
  std::vector<int64_t> subtasks;  ///< [B]
  std::vector<int64_t> rows;      ///< [B], rows of the data file
};

/// How training sees the rewards: f is trained on scale * (r + shift) (docs/algorithm.md).
struct RewardTransform {
  double scale = 1.0;
  double shift = 0.0;
};

struct SamplerOptions {
  int64_t batch_size = 1024;
  int64_t subtasks_per_batch = 0;  ///< 0 = each row draws its own sub-task
  uint64_t seed = 0;
};

/// A data set as training sees it, on the training device: standardised states, transformed
/// rewards. Samplers of several seeds share one.
class TransitionTable {
 public:
  /// Takes the data over (states are standardised in place, so nothing is held twice on a CPU).
  TransitionTable(TrajectoryDataset dataset, const Normaliser& normaliser,
                  const RewardTransform& rewards, at::Device device);

  // its tensors share memory with its data set
  TransitionTable(const TransitionTable&) = delete;
  TransitionTable& operator=(const TransitionTable&) = delete;

  const std::string& path() const { return dataset_.path; }
  int64_t rows() const { return dataset_.rows; }
  int64_t state_dim() const { return dataset_.state_dim; }
  int64_t action_dim() const { return dataset_.action_dim; }
  at::Device device() const { return device_; }
  const at::Tensor& states() const { return states_; }        ///< [rows, state_dim]
  const at::Tensor& actions() const { return actions_; }      ///< [rows, action_dim]
  const at::Tensor& rewards() const { return rewards_; }      ///< [rows]
  const at::Tensor& terminals() const { return terminals_; }  ///< [rows], 0 or 1

 private:
  TrajectoryDataset dataset_;  // owns the memory of states and actions on a CPU
  at::Device device_;
  at::Tensor states_, actions_, rewards_, terminals_;
};

/// Draws mini-batches: n uniform over sub-tasks, then a transition uniform within D_n
/// (docs/algorithm.md, step 1). A batch is a pure function of (seed, step), so that a resumed run
/// continues exactly and any batch can be drawn again.
class Sampler {
 public:
  /// @param trajectories  the list that was decomposed
  Sampler(std::shared_ptr<const TransitionTable> table, std::span<const Trajectory> trajectories,
          const Decomposition& decomposition, const SamplerOptions& options);

  /// With a table of its own.
  Sampler(TrajectoryDataset dataset, std::span<const Trajectory> trajectories,
          const Decomposition& decomposition, const Normaliser& normaliser,
          const RewardTransform& rewards, const SamplerOptions& options, at::Device device)
      : Sampler(std::make_shared<TransitionTable>(std::move(dataset), normaliser, rewards, device),
                trajectories, decomposition, options) {}

  /// The batch of a training step.
  Batch draw(int64_t step) const;

  /// The same batch, bit by bit, into memory of the caller's; allocates nothing. Throws
  /// std::logic_error when the data live on a GPU.
  void draw_into(int64_t step, const RawBatch& out) const;

  /// Only the indices of that batch, on the host.
  DrawnRows draw_rows(int64_t step) const;

  int64_t batch_size() const { return options_.batch_size; }
  const SamplerOptions& options() const { return options_; }
  const TransitionTable& table() const { return *table_; }
  /// Sampleable rows, sub-task after sub-task; n's are [offsets[n], offsets[n + 1]).
  std::span<const uint32_t> transition_rows() const { return transition_rows_; }
  std::span<const int64_t> offsets() const { return offsets_; }

 private:
  // rows [first, first + count) of a step's batch
  void draw_indices(RandomStream& stream, int64_t first, int64_t count, int64_t* subtasks,
                    int64_t* rows) const;

  SamplerOptions options_;
  std::shared_ptr<const TransitionTable> table_;
  std::vector<uint32_t> transition_rows_;
  std::vector<int64_t> offsets_;  // [N + 1]
};

}  // namespace drop
