#include "drop/deploy/replay_buffer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "drop/base/error.h"
#include "drop/base/random.h"

namespace drop {

ReplayBuffer::ReplayBuffer(int64_t state_dim, int64_t action_dim,
                           const Decomposition& decomposition, const RewardTransform& rewards)
    : state_dim_(state_dim), action_dim_(action_dim), transform_(rewards) {
  for (const Subtask& subtask : decomposition.subtasks)
    subtask_returns_.push_back(subtask.return_mean);
}

void ReplayBuffer::add_trajectory(std::span<const float> states, std::span<const float> actions,
                                  std::span<const double> rewards, bool terminated) {
  double return_sum = 0.0;
  for (const double reward : rewards) return_sum += reward;
  const auto nearest = std::min_element(
      subtask_returns_.begin(), subtask_returns_.end(),
      [&](double a, double b) { return std::abs(a - return_sum) < std::abs(b - return_sum); });
  const int64_t subtask = nearest - subtask_returns_.begin();

  const auto length = static_cast<int64_t>(rewards.size());
  for (int64_t t = 0; t < length; ++t) {
    const bool last = t + 1 == length;
    if (!last || terminated) drawable_.push_back(static_cast<int64_t>(subtasks_.size()));
    const auto state = states.begin() + t * state_dim_;
    const auto action = actions.begin() + t * action_dim_;
    states_.insert(states_.end(), state, state + state_dim_);
    next_states_.insert(next_states_.end(), state + state_dim_, state + 2 * state_dim_);
    actions_.insert(actions_.end(), action, action + action_dim_);
    rewards_.push_back(static_cast<float>(transform_.scale *
                                          (rewards[static_cast<size_t>(t)] + transform_.shift)));
    terminals_.push_back(last && terminated ? 1.0f : 0.0f);
    subtasks_.push_back(subtask);
  }
}

Batch ReplayBuffer::draw(RandomStream& stream, int64_t count, at::Device device) const {
  if (drawable_.empty()) throw std::logic_error("ReplayBuffer::draw: nothing to draw from");
  Batch batch;
  batch.states = at::empty({count, state_dim_}, at::kFloat);
  batch.next_states = at::empty({count, state_dim_}, at::kFloat);
  batch.actions = at::empty({count, action_dim_}, at::kFloat);
  batch.next_actions = at::zeros({count, action_dim_}, at::kFloat);
  batch.rewards = at::empty({count}, at::kFloat);
  batch.terminals = at::empty({count}, at::kFloat);
  batch.subtasks = at::empty({count}, at::kLong);
  const auto copy = [](const std::vector<float>& from, int64_t row, int64_t width, at::Tensor& to,
                       int64_t i) {
    std::copy_n(from.begin() + row * width, width, to.data_ptr<float>() + i * width);
  };
  const auto rows = static_cast<int64_t>(subtasks_.size());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = drawable_[stream.below(drawable_.size())];
    copy(states_, row, state_dim_, batch.states, i);
    copy(next_states_, row, state_dim_, batch.next_states, i);
    copy(actions_, row, action_dim_, batch.actions, i);
    // behind a terminal it is masked
    if (row + 1 < rows) copy(actions_, row + 1, action_dim_, batch.next_actions, i);
    copy(rewards_, row, 1, batch.rewards, i);
    copy(terminals_, row, 1, batch.terminals, i);
    batch.subtasks.data_ptr<int64_t>()[i] = subtasks_[static_cast<size_t>(row)];
  }
  for (at::Tensor* tensor : {&batch.states, &batch.next_states, &batch.actions, &batch.next_actions,
                             &batch.rewards, &batch.terminals, &batch.subtasks})
    *tensor = tensor->to(device);
  return batch;
}

NamedTensors ReplayBuffer::tensors() const {
  const auto plain = [](const std::vector<float>& values) {
    return at::tensor(values, at::kFloat);
  };
  return {{"states", plain(states_)},
          {"next_states", plain(next_states_)},
          {"actions", plain(actions_)},
          {"rewards", plain(rewards_)},
          {"terminals", plain(terminals_)},
          {"subtasks", at::tensor(subtasks_, at::kLong)},
          {"drawable", at::tensor(drawable_, at::kLong)}};
}

void ReplayBuffer::restore(const NamedTensors& tensors, const std::string& source) {
  const std::map<std::string, at::Tensor> named(tensors.begin(), tensors.end());
  const auto find = [&](const char* name, at::ScalarType type) {
    const auto found = named.find(name);
    if (found == named.end() || found->second.scalar_type() != type || found->second.dim() != 1)
      throw DataError(source + ": replay." + name +
                      " is missing or of another type; remove this file and its checkpoint");
    return found->second;
  };
  const at::Tensor subtasks = find("subtasks", at::kLong);
  const int64_t rows = subtasks.numel();
  const auto floats = [&](const char* name, int64_t width) {
    const at::Tensor tensor = find(name, at::kFloat);
    if (tensor.numel() != rows * width)
      throw DataError(source + ": replay." + name + " has " + std::to_string(tensor.numel()) +
                      " values, expected " + std::to_string(rows * width) +
                      "; remove this file and its checkpoint");
    const auto* values = tensor.const_data_ptr<float>();
    return std::vector<float>(values, values + tensor.numel());
  };
  const at::Tensor drawable = find("drawable", at::kLong);
  const auto integers = [&](const at::Tensor& tensor, int64_t bound, const char* name) {
    const auto* values = tensor.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      if (values[i] < 0 || values[i] >= bound)
        throw DataError(source + ": replay." + name + " holds " + std::to_string(values[i]) +
                        ", allowed: 0 to " + std::to_string(bound - 1) +
                        "; remove this file and its checkpoint");
    }
    return std::vector<int64_t>(values, values + tensor.numel());
  };
  states_ = floats("states", state_dim_);
  next_states_ = floats("next_states", state_dim_);
  actions_ = floats("actions", action_dim_);
  rewards_ = floats("rewards", 1);
  terminals_ = floats("terminals", 1);
  subtasks_ = integers(subtasks, static_cast<int64_t>(subtask_returns_.size()), "subtasks");
  drawable_ = integers(drawable, rows, "drawable");
}

}  // namespace drop
