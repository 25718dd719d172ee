#include "drop/data/sampler.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <string>

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

// asks for all lines of memory that hold some numbers
void prefetch(const float* values, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(float);
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(values + i);
  __builtin_prefetch(values + count - 1);
}

}  // namespace

TransitionTable::TransitionTable(TrajectoryDataset dataset, const Normaliser& normaliser,
                                 const RewardTransform& rewards, at::Device device)
    : dataset_(std::move(dataset)), device_(device) {
  if (dataset_.rows - 1 > std::numeric_limits<uint32_t>::max()) {
    throw DataError(dataset_.path + ": has " + std::to_string(dataset_.rows) +
                    " rows; allowed are 2^32; cut the data set");
  }
  normaliser.apply(dataset_.observations);
  states_ = rows_of(dataset_.observations, dataset_.rows, dataset_.state_dim, device);
  actions_ = rows_of(dataset_.actions, dataset_.rows, dataset_.action_dim, device);
  at::Tensor scaled = at::empty({dataset_.rows}, at::kFloat);
  at::Tensor terminals = at::empty({dataset_.rows}, at::kFloat);
  auto* scaled_values = scaled.data_ptr<float>();
  auto* terminal_values = terminals.data_ptr<float>();
  for (size_t row = 0; row < dataset_.rewards.size(); ++row) {
    scaled_values[row] =
        static_cast<float>(rewards.scale * (dataset_.rewards[row] + rewards.shift));
    terminal_values[row] = dataset_.terminals[row] != 0 ? 1.0f : 0.0f;
  }
  rewards_ = scaled.to(device);
  terminals_ = terminals.to(device);
  std::vector<double>().swap(dataset_.rewards);
  std::vector<uint8_t>().swap(dataset_.terminals);
  std::vector<uint8_t>().swap(dataset_.timeouts);
}

Sampler::Sampler(std::shared_ptr<const TransitionTable> table,
                 std::span<const Trajectory> trajectories, const Decomposition& decomposition,
                 const SamplerOptions& options)
    : options_(options), table_(std::move(table)) {
  if (decomposition.subtasks.empty())
    throw DataError(table_->path() + ": no sub-task to sample from");

  // sampleable rows: all of a trajectory, but for a last row that has no next action
  size_t count = 0;
  for (const Subtask& subtask : decomposition.subtasks) {
    for (const int64_t index : subtask.trajectories)
      count += static_cast<size_t>(trajectories[static_cast<size_t>(index)].transitions());
  }
  transition_rows_.reserve(count);
  offsets_.push_back(0);
  for (const Subtask& subtask : decomposition.subtasks) {
    for (const int64_t index : subtask.trajectories) {
      const Trajectory& trajectory = trajectories[static_cast<size_t>(index)];
      for (int64_t i = 0; i < trajectory.transitions(); ++i)
        transition_rows_.push_back(static_cast<uint32_t>(trajectory.begin + i));
    }
    if (static_cast<int64_t>(transition_rows_.size()) == offsets_.back()) {
      throw DataError(table_->path() + ": a sub-task has no drawable transition");
    }
    offsets_.push_back(static_cast<int64_t>(transition_rows_.size()));
  }
}

void Sampler::draw_indices(RandomStream& stream, int64_t first, int64_t count, int64_t* subtasks,
                           int64_t* rows) const {
  const auto num_subtasks = static_cast<uint64_t>(offsets_.size() - 1);
  // one block of the generator for each row: the sub-task, then the transition within it
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = first + i;
    // literal form: the row takes one of the batch's few sub-tasks, drawn from blocks behind the
    // rows'
    if (options_.subtasks_per_batch > 0) {
      const int64_t slot = row % options_.subtasks_per_batch;
      stream.seek(static_cast<uint64_t>(4 * (options_.batch_size + slot)));
      subtasks[i] = static_cast<int64_t>(stream.below(num_subtasks));
      stream.seek(static_cast<uint64_t>(4 * row + 2));
    } else {
      stream.seek(static_cast<uint64_t>(4 * row));
      subtasks[i] = static_cast<int64_t>(stream.below(num_subtasks));
    }
    const int64_t begin = offsets_[static_cast<size_t>(subtasks[i])];
    const int64_t size = offsets_[static_cast<size_t>(subtasks[i]) + 1] - begin;
    rows[i] = begin + static_cast<int64_t>(stream.below(static_cast<uint64_t>(size)));
    __builtin_prefetch(&transition_rows_[static_cast<size_t>(rows[i])]);
  }
  for (int64_t i = 0; i < count; ++i) rows[i] = transition_rows_[static_cast<size_t>(rows[i])];
}

DrawnRows Sampler::draw_rows(int64_t step) const {
  RandomStream stream(options_.seed, "sampling", static_cast<uint64_t>(step));
  DrawnRows drawn;
  drawn.subtasks.resize(static_cast<size_t>(options_.batch_size));
  drawn.rows.resize(static_cast<size_t>(options_.batch_size));
  draw_indices(stream, 0, options_.batch_size, drawn.subtasks.data(), drawn.rows.data());
  return drawn;
}

void Sampler::draw_into(int64_t step, const RawBatch& out) const {
  const TransitionTable& table = *table_;
  if (!table.device().is_cpu())
    throw std::logic_error("Sampler::draw_into: the data live on a GPU");
  RandomStream stream(options_.seed, "sampling", static_cast<uint64_t>(step));
  const int64_t state_dim = table.state_dim();
  const int64_t action_dim = table.action_dim();
  const int64_t last_row = table.rows() - 1;
  const auto* states = table.states().const_data_ptr<float>();
  const auto* actions = table.actions().const_data_ptr<float>();
  const auto* rewards = table.rewards().const_data_ptr<float>();
  const auto* terminals = table.terminals().const_data_ptr<float>();

  // some rows at a time: all of them are asked for before the first is used
  constexpr int64_t kBlock = 64;
  std::array<int64_t, kBlock> rows{};
  for (int64_t first = 0; first < options_.batch_size; first += kBlock) {
    const int64_t count = std::min(kBlock, options_.batch_size - first);
    draw_indices(stream, first, count, out.subtasks + first, rows.data());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = rows[static_cast<size_t>(i)];
      prefetch(states + row * state_dim, 2 * state_dim);
      prefetch(actions + row * action_dim, 2 * action_dim);
      __builtin_prefetch(rewards + row);
      __builtin_prefetch(terminals + row);
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = rows[static_cast<size_t>(i)];
      // the successor is the next row of the same trajectory; after a terminal row it is masked
      const int64_t next = std::min(row + 1, last_row);
      const int64_t to = first + i;
      std::copy_n(states + row * state_dim, state_dim, out.states + to * state_dim);
      std::copy_n(states + next * state_dim, state_dim, out.next_states + to * state_dim);
      std::copy_n(actions + row * action_dim, action_dim, out.actions + to * action_dim);
      std::copy_n(actions + next * action_dim, action_dim, out.next_actions + to * action_dim);
      out.rewards[to] = rewards[row];
      out.terminals[to] = terminals[row];
    }
  }
}

Batch Sampler::draw(int64_t step) const {
  const int64_t size = options_.batch_size;
  Batch batch;
  if (table_->device().is_cpu()) {
    batch.states = at::empty({size, table_->state_dim()}, at::kFloat);
    batch.actions = at::empty({size, table_->action_dim()}, at::kFloat);
    batch.rewards = at::empty({size}, at::kFloat);
    batch.next_states = at::empty({size, table_->state_dim()}, at::kFloat);
    batch.next_actions = at::empty({size, table_->action_dim()}, at::kFloat);
    batch.terminals = at::empty({size}, at::kFloat);
    batch.subtasks = at::empty({size}, at::kLong);
    draw_into(step, {batch.states.data_ptr<float>(), batch.actions.data_ptr<float>(),
                     batch.rewards.data_ptr<float>(), batch.next_states.data_ptr<float>(),
                     batch.next_actions.data_ptr<float>(), batch.terminals.data_ptr<float>(),
                     batch.subtasks.data_ptr<int64_t>()});
    return batch;
  }
  DrawnRows drawn = draw_rows(step);
  const auto on_device = [&](std::vector<int64_t>& values) {
    return at::from_blob(values.data(), {size}, at::kLong)
        .to(table_->device(), at::kLong, false, true);
  };
  const at::Tensor rows = on_device(drawn.rows);
  const at::Tensor next = (rows + 1).clamp_max(table_->rows() - 1);
  batch.states = table_->states().index_select(0, rows);
  batch.actions = table_->actions().index_select(0, rows);
  batch.rewards = table_->rewards().index_select(0, rows);
  batch.next_states = table_->states().index_select(0, next);
  batch.next_actions = table_->actions().index_select(0, next);
  batch.terminals = table_->terminals().index_select(0, rows);
  batch.subtasks = on_device(drawn.subtasks);
  return batch;
}

}  // namespace drop
