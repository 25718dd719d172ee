#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "drop/data/decomposition.h"
#include "drop/data/sampler.h"
#include "drop/train/training_file.h"

namespace drop {

/// Transitions made online, beside the offline data (docs/algorithm.md, "Online fine-tuning"). A
/// trajectory joins the sub-task whose mean return is nearest to its own; as in the offline data a
/// transition needs its next action, so that the last one of a trajectory counts only if it is a
/// terminal.
class ReplayBuffer {
 public:
  /// @param decomposition  the run's sub-tasks; one for a CVAE
  ReplayBuffer(int64_t state_dim, int64_t action_dim, const Decomposition& decomposition,
               const RewardTransform& rewards);

  /// @param states   [T + 1, state_dim] standardised, the last one after the last action
  /// @param actions  [T, action_dim]
  /// @param rewards  [T] raw
  void add_trajectory(std::span<const float> states, std::span<const float> actions,
                      std::span<const double> rewards, bool terminated);

  int64_t transitions() const { return static_cast<int64_t>(drawable_.size()); }

  /// `count` transitions drawn uniformly, on a device: a pure function of the buffer and the
  /// stream.
  Batch draw(RandomStream& stream, int64_t count, at::Device device) const;

  /// Everything, for the training half of a checkpoint, and back. `restore` throws DataError naming
  /// `source` for tensors that do not fit together.
  NamedTensors tensors() const;
  void restore(const NamedTensors& tensors, const std::string& source);

 private:
  int64_t state_dim_, action_dim_;
  std::vector<double> subtask_returns_;
  RewardTransform transform_;
  // rows of all trajectories; a row's successor is the next row
  std::vector<float> states_, next_states_, actions_, rewards_, terminals_;
  std::vector<int64_t> subtasks_;
  std::vector<int64_t> drawable_;  // rows
};

}  // namespace drop
