#include "drop/data/sampler.h"

#include <ATen/ATen.h>

#include "drop/base/error.h"
#include "drop/base/random.h"

namespace drop {

namespace {

at::Tensor rows_of(std::vector<float>& values, int64_t rows, int64_t width, at::Device device) {
  at::Tensor host = at::from_blob(values.data(), {rows, width}, at::kFloat);
  if (device.is_cpu()) return host;
  at::Tensor copy = host.to(device);
  std::vector<float>().swap(values);
  return copy;
}

}  // namespace

Sampler::Sampler(TrajectoryDataset dataset, std::span<const Trajectory> trajectories,
                 const Decomposition& decomposition, const Normaliser& normaliser,
                 const RewardTransform& rewards, const SamplerOptions& options, at::Device device)
    : options_(options), device_(device), dataset_(std::move(dataset)) {
  if (decomposition.subtasks.empty())
    throw DataError(dataset_.path + ": no sub-task to sample from");
  last_row_ = dataset_.rows - 1;

  // sampleable rows: all of a trajectory, but for a last row that has no next action
  offsets_.push_back(0);
  for (const Subtask& subtask : decomposition.subtasks) {
    for (const int64_t index : subtask.trajectories) {
      const Trajectory& trajectory = trajectories[static_cast<size_t>(index)];
      for (int64_t i = 0; i < trajectory.transitions(); ++i)
        transition_rows_.push_back(trajectory.begin + i);
    }
    if (static_cast<int64_t>(transition_rows_.size()) == offsets_.back()) {
      throw DataError(dataset_.path + ": a sub-task has no drawable transition");
    }
    offsets_.push_back(static_cast<int64_t>(transition_rows_.size()));
  }

  // the data, standardised and on the device
  normaliser.apply(dataset_.observations);
  states_ = rows_of(dataset_.observations, dataset_.rows, dataset_.state_dim, device);
  actions_ = rows_of(dataset_.actions, dataset_.rows, dataset_.action_dim, device);
  std::vector<float> scaled(dataset_.rewards.size());
  std::vector<float> terminals(dataset_.rewards.size());
  for (size_t row = 0; row < scaled.size(); ++row) {
    scaled[row] = static_cast<float>(rewards.scale * (dataset_.rewards[row] + rewards.shift));
    terminals[row] = dataset_.terminals[row] != 0 ? 1.0f : 0.0f;
  }
  rewards_ =
      at::from_blob(scaled.data(), {dataset_.rows}, at::kFloat).to(device, at::kFloat, false, true);
  terminals_ = at::from_blob(terminals.data(), {dataset_.rows}, at::kFloat)
                   .to(device, at::kFloat, false, true);
  std::vector<double>().swap(dataset_.rewards);
}

DrawnRows Sampler::draw_rows(int64_t step) const {
  RandomStream stream(options_.seed, "sampling", static_cast<uint64_t>(step));
  const auto num_subtasks = static_cast<uint64_t>(offsets_.size() - 1);

  // one block of the generator for each row: the sub-task, then the transition within it
  DrawnRows drawn;
  drawn.subtasks.resize(static_cast<size_t>(options_.batch_size));
  drawn.rows.resize(static_cast<size_t>(options_.batch_size));
  for (int64_t row = 0; row < options_.batch_size; ++row) {
    // literal form: the row takes one of the batch's few sub-tasks, drawn from blocks behind the
    // rows'
    if (options_.subtasks_per_batch > 0) {
      const int64_t slot = row % options_.subtasks_per_batch;
      stream.seek(static_cast<uint64_t>(4 * (options_.batch_size + slot)));
      drawn.subtasks[row] = static_cast<int64_t>(stream.below(num_subtasks));
      stream.seek(static_cast<uint64_t>(4 * row + 2));
    } else {
      drawn.subtasks[row] = static_cast<int64_t>(stream.below(num_subtasks));
    }
    const int64_t begin = offsets_[drawn.subtasks[row]];
    const int64_t size = offsets_[drawn.subtasks[row] + 1] - begin;
    drawn.rows[row] =
        transition_rows_[begin + static_cast<int64_t>(stream.below(static_cast<uint64_t>(size)))];
  }
  return drawn;
}

Batch Sampler::draw(int64_t step) const {
  DrawnRows drawn = draw_rows(step);
  const auto on_device = [&](std::vector<int64_t>& values) {
    return at::from_blob(values.data(), {options_.batch_size}, at::kLong)
        .to(device_, at::kLong, false, true);
  };
  const at::Tensor rows = on_device(drawn.rows);
  // the successor is the next row of the same trajectory; after a terminal row it is masked
  const at::Tensor next = (rows + 1).clamp_max(last_row_);
  Batch batch;
  batch.states = states_.index_select(0, rows);
  batch.actions = actions_.index_select(0, rows);
  batch.rewards = rewards_.index_select(0, rows);
  batch.next_states = states_.index_select(0, next);
  batch.next_actions = actions_.index_select(0, next);
  batch.terminals = terminals_.index_select(0, rows);
  batch.subtasks = on_device(drawn.subtasks);
  return batch;
}

}  // namespace drop
