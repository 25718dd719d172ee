#include "drop/deploy/replay_buffer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "drop/base/error.h"
#include "drop/base/random.h"

namespace drop {
namespace {

// three sub-tasks with returns 10, 5 and 0; rewards are seen as 0.5 * (r - 1)
ReplayBuffer small_buffer() {
  Decomposition decomposition;
  for (const double mean : {10.0, 5.0, 0.0}) {
    Subtask subtask;
    subtask.return_mean = mean;
    decomposition.subtasks.push_back(subtask);
  }
  return ReplayBuffer(2, 1, decomposition, {0.5, -1.0});
}

// T steps whose state t is (100 k + t, -t), action t is t / 10, rewards all `reward`
void add(ReplayBuffer& buffer, int k, int64_t steps, double reward, bool terminated) {
  std::vector<float> states, actions;
  for (int64_t t = 0; t <= steps; ++t) {
    states.push_back(static_cast<float>(100 * k + t));
    states.push_back(static_cast<float>(-t));
    if (t < steps) actions.push_back(static_cast<float>(t) / 10.0f);
  }
  buffer.add_trajectory(states, actions, std::vector<double>(static_cast<size_t>(steps), reward),
                        terminated);
}

TEST(ReplayBuffer, TransitionsAreThoseOfTheTrajectories) {
  ReplayBuffer buffer = small_buffer();
  add(buffer, 1, 3, 2.0, /*terminated=*/true);   // return 6: next to 5
  add(buffer, 2, 4, 4.0, /*terminated=*/false);  // return 16: next to 10
  EXPECT_EQ(buffer.transitions(), 3 + 3);        // the cut trajectory's last step has no a'

  RandomStream stream(1, "online");
  const Batch batch = buffer.draw(stream, 500, at::kCPU);
  std::set<float> seen;
  for (int64_t i = 0; i < 500; ++i) {
    const float name = batch.states[i][0].item<float>();
    const int k = static_cast<int>(name) / 100;
    const int t = static_cast<int>(name) % 100;
    seen.insert(name);
    EXPECT_EQ(batch.states[i][1].item<float>(), static_cast<float>(-t));
    EXPECT_EQ(batch.next_states[i][0].item<float>(), name + 1);
    EXPECT_EQ(batch.actions[i][0].item<float>(), static_cast<float>(t) / 10.0f);
    EXPECT_EQ(batch.rewards[i].item<float>(), k == 1 ? 0.5f : 1.5f);
    EXPECT_EQ(batch.subtasks[i].item<int64_t>(), k == 1 ? 1 : 0);
    const bool last = k == 1 && t == 2;
    EXPECT_EQ(batch.terminals[i].item<float>(), last ? 1.0f : 0.0f);
    if (last) continue;
    EXPECT_EQ(batch.next_actions[i][0].item<float>(), static_cast<float>(t + 1) / 10.0f);
  }
  EXPECT_EQ(seen, (std::set<float>{100, 101, 102, 200, 201, 202}));
}

TEST(ReplayBuffer, GoesThroughAFileAndRefusesWhatDoesNotFit) {
  ReplayBuffer buffer = small_buffer();
  add(buffer, 1, 3, 2.0, true);
  add(buffer, 2, 4, 0.0, false);
  ReplayBuffer other = small_buffer();
  other.restore(buffer.tensors(), "file");
  RandomStream a(3, "online"), b(3, "online");
  EXPECT_TRUE(buffer.draw(a, 50, at::kCPU).states.equal(other.draw(b, 50, at::kCPU).states));

  const auto broken = [&](const std::string& name, const at::Tensor& value) {
    NamedTensors tensors = buffer.tensors();
    for (auto& [known, tensor] : tensors) {
      if (known == name) tensor = value;
    }
    return tensors;
  };
  EXPECT_THROW(other.restore(broken("states", at::zeros({3}, at::kFloat)), "file"), DataError);
  EXPECT_THROW(other.restore(broken("drawable", at::full({1}, 7, at::kLong)), "file"), DataError);
  EXPECT_THROW(other.restore(broken("subtasks", at::full({7}, 3, at::kLong)), "file"), DataError);
  EXPECT_THROW(other.restore(broken("rewards", at::zeros({7}, at::kLong)), "file"), DataError);
  EXPECT_THROW(other.restore({}, "file"), DataError);
  // a refused file changes nothing
  EXPECT_EQ(other.transitions(), buffer.transitions());
}

}  // namespace
}  // namespace drop
