#include "drop/data/sampler.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace drop {
namespace {

constexpr int64_t kRows = 20;

// rows whose numbers tell where they came from: observation = row, action = -row, reward = row / 10
TrajectoryDataset numbered_rows() {
  TrajectoryDataset data;
  data.path = "numbered";
  data.rows = kRows;
  data.state_dim = 1;
  data.action_dim = 1;
  for (int64_t row = 0; row < kRows; ++row) {
    data.observations.push_back(static_cast<float>(row));
    data.actions.push_back(static_cast<float>(-row));
    data.rewards.push_back(static_cast<double>(row) / 10.0);
    data.terminals.push_back(row == 9 ? 1 : 0);
    data.timeouts.push_back(row == 14 || row == 19 ? 1 : 0);
  }
  // the first ends by a terminal, the others by timeouts: their last rows have no next action
  data.trajectories = {
      {0, 10, 4.5, true, true}, {10, 15, 6.0, false, true}, {15, 20, 8.5, false, true}};
  return data;
}

Decomposition two_subtasks() {
  Decomposition decomposition;
  decomposition.subtasks = {{{2}, 8.5, 8.5, 8.5, 4}, {{0, 1}, 5.25, 4.5, 6.0, 14}};
  return decomposition;
}

Sampler make_sampler(int64_t batch, uint64_t seed, int64_t subtasks_per_batch = 0,
                     RewardTransform rewards = {}) {
  TrajectoryDataset data = numbered_rows();
  const std::vector<Trajectory> trajectories = data.trajectories;
  const Normaliser identity{{0.0f}, {1.0f}};
  return Sampler(std::move(data), trajectories, two_subtasks(), identity, rewards,
                 {batch, subtasks_per_batch, seed}, at::kCPU);
}

TEST(Sampler, RowsCarryTheirSuccessors) {
  const Sampler sampler = make_sampler(256, 1, 0, {2.0, -1.0});
  const DrawnRows drawn = sampler.draw_rows(5);
  const Batch batch = sampler.draw(5);
  for (int64_t i = 0; i < 256; ++i) {
    const auto row = static_cast<float>(drawn.rows[static_cast<size_t>(i)]);
    EXPECT_EQ(batch.states[i][0].item<float>(), row);
    EXPECT_EQ(batch.actions[i][0].item<float>(), -row);
    EXPECT_FLOAT_EQ(batch.rewards[i].item<float>(), 2.0f * (row / 10.0f - 1.0f));
    EXPECT_EQ(batch.terminals[i].item<float>(), row == 9 ? 1.0f : 0.0f);
    EXPECT_EQ(batch.subtasks[i].item<int64_t>(), drawn.subtasks[static_cast<size_t>(i)]);
    if (row != 9) {
      EXPECT_EQ(batch.next_states[i][0].item<float>(), row + 1);
      EXPECT_EQ(batch.next_actions[i][0].item<float>(), -(row + 1));
    }
  }
}

TEST(Sampler, DrawsOnlyDrawableRowsOfTheRightSubtask) {
  const Sampler sampler = make_sampler(64, 2);
  std::map<int64_t, std::set<int64_t>> seen;
  for (int64_t step = 0; step < 60; ++step) {
    const DrawnRows drawn = sampler.draw_rows(step);
    for (size_t i = 0; i < drawn.rows.size(); ++i) seen[drawn.subtasks[i]].insert(drawn.rows[i]);
  }
  EXPECT_EQ(seen[0], (std::set<int64_t>{15, 16, 17, 18}));
  EXPECT_EQ(seen[1], (std::set<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}));
  EXPECT_EQ(seen.size(), 2u);
}

TEST(Sampler, SubtasksAndTransitionsAreUniform) {
  const Sampler sampler = make_sampler(1000, 3);
  std::map<int64_t, int64_t> subtasks;
  std::map<int64_t, int64_t> rows;
  for (int64_t step = 0; step < 40; ++step) {
    const DrawnRows drawn = sampler.draw_rows(step);
    for (size_t i = 0; i < drawn.rows.size(); ++i) {
      ++subtasks[drawn.subtasks[i]];
      ++rows[drawn.rows[i]];
    }
  }
  // 40,000 draws; five standard deviations of a binomial
  EXPECT_NEAR(static_cast<double>(subtasks[0]), 20000.0, 500.0);
  for (int64_t row = 15; row < 19; ++row)
    EXPECT_NEAR(static_cast<double>(rows[row]), 5000.0, 350.0);
  for (int64_t row = 0; row < 14; ++row)
    EXPECT_NEAR(static_cast<double>(rows[row]), 20000.0 / 14.0, 190.0);
}

TEST(Sampler, ABatchIsAPureFunctionOfSeedAndStep) {
  const Sampler sampler = make_sampler(32, 4);
  const DrawnRows first = sampler.draw_rows(7);
  sampler.draw(8);
  EXPECT_EQ(sampler.draw_rows(7).rows, first.rows);
  EXPECT_NE(sampler.draw_rows(8).rows, first.rows);
  EXPECT_EQ(make_sampler(32, 4).draw_rows(7).rows, first.rows);
  EXPECT_NE(make_sampler(32, 5).draw_rows(7).rows, first.rows);
}

// wide rows of noise, so that a value out of place is seen
Sampler make_wide_sampler(int64_t batch, int64_t subtasks_per_batch) {
  constexpr int64_t kStateDim = 11, kActionDim = 3;
  TrajectoryDataset data = numbered_rows();
  data.state_dim = kStateDim;
  data.action_dim = kActionDim;
  data.observations.clear();
  data.actions.clear();
  for (int64_t i = 0; i < kRows * kStateDim; ++i)
    data.observations.push_back(std::sin(static_cast<float>(i)));
  for (int64_t i = 0; i < kRows * kActionDim; ++i)
    data.actions.push_back(std::cos(static_cast<float>(i)));
  // the last row is a terminal: it can be drawn and has no successor
  data.terminals.back() = 1;
  data.trajectories.back().terminal = true;
  const std::vector<Trajectory> trajectories = data.trajectories;
  const Normaliser normaliser = fit_normaliser(data.observations, kStateDim);
  return Sampler(std::move(data), trajectories, two_subtasks(), normaliser, {0.5, 1.0},
                 {batch, subtasks_per_batch, 9}, at::kCPU);
}

TEST(Sampler, DrawIntoFillsTheSameBatchBitByBit) {
  for (const int64_t batch_size : {1, 63, 64, 65, 200}) {
    for (const int64_t subtasks_per_batch : {0, 3}) {
      const Sampler sampler = make_wide_sampler(batch_size, subtasks_per_batch);
      const auto like = [](const at::Tensor& tensor) { return at::full_like(tensor, -77); };
      for (int64_t step = 0; step < 5; ++step) {
        const Batch batch = sampler.draw(step);
        const Batch raw = {like(batch.states),      like(batch.actions),      like(batch.rewards),
                           like(batch.next_states), like(batch.next_actions), like(batch.terminals),
                           like(batch.subtasks)};
        sampler.draw_into(step,
                          {raw.states.data_ptr<float>(), raw.actions.data_ptr<float>(),
                           raw.rewards.data_ptr<float>(), raw.next_states.data_ptr<float>(),
                           raw.next_actions.data_ptr<float>(), raw.terminals.data_ptr<float>(),
                           raw.subtasks.data_ptr<int64_t>()});
        EXPECT_TRUE(at::equal(raw.states, batch.states));
        EXPECT_TRUE(at::equal(raw.actions, batch.actions));
        EXPECT_TRUE(at::equal(raw.rewards, batch.rewards));
        EXPECT_TRUE(at::equal(raw.next_states, batch.next_states));
        EXPECT_TRUE(at::equal(raw.next_actions, batch.next_actions));
        EXPECT_TRUE(at::equal(raw.terminals, batch.terminals));
        EXPECT_TRUE(at::equal(raw.subtasks, batch.subtasks));
      }
    }
  }
}

TEST(Sampler, WideRowsAreTheDatasRows) {
  const Sampler sampler = make_wide_sampler(300, 0);
  std::vector<float> observations;
  for (int64_t i = 0; i < kRows * 11; ++i) observations.push_back(std::sin(static_cast<float>(i)));
  const Normaliser normaliser = fit_normaliser(observations, 11);
  normaliser.apply(observations);
  const at::Tensor states = at::from_blob(observations.data(), {kRows, 11}, at::kFloat);
  const DrawnRows drawn = sampler.draw_rows(2);
  const Batch batch = sampler.draw(2);
  EXPECT_TRUE(std::find(drawn.rows.begin(), drawn.rows.end(), kRows - 1) != drawn.rows.end());
  for (int64_t i = 0; i < 300; ++i) {
    const int64_t row = drawn.rows[static_cast<size_t>(i)];
    const int64_t next = std::min(row + 1, kRows - 1);
    EXPECT_TRUE(at::equal(batch.states[i], states[row]));
    EXPECT_TRUE(at::equal(batch.next_states[i], states[next]));
    EXPECT_EQ(batch.actions[i][2].item<float>(), std::cos(static_cast<float>(3 * row + 2)));
    EXPECT_EQ(batch.next_actions[i][0].item<float>(), std::cos(static_cast<float>(3 * next)));
  }
}

// drawn before the fast path was written: what a seed trains on stays as it is
TEST(Sampler, DrawsWhatItAlwaysDrew) {
  const DrawnRows drawn = make_sampler(8, 1).draw_rows(5);
  EXPECT_EQ(drawn.rows, (std::vector<int64_t>{16, 5, 18, 3, 1, 18, 15, 2}));
  EXPECT_EQ(make_sampler(8, 1, 3).draw_rows(5).rows,
            (std::vector<int64_t>{16, 5, 18, 16, 1, 18, 15, 2}));
}

TEST(Sampler, LiteralFormDrawsOneSubtaskForTheWholeBatch) {
  const Sampler sampler = make_sampler(32, 6, /*subtasks_per_batch=*/1);
  std::set<int64_t> over_steps;
  for (int64_t step = 0; step < 30; ++step) {
    const DrawnRows drawn = sampler.draw_rows(step);
    EXPECT_EQ(std::set<int64_t>(drawn.subtasks.begin(), drawn.subtasks.end()).size(), 1u);
    EXPECT_GT(std::set<int64_t>(drawn.rows.begin(), drawn.rows.end()).size(), 1u);
    over_steps.insert(drawn.subtasks.front());
  }
  EXPECT_EQ(over_steps.size(), 2u);
}

}  // namespace
}  // namespace drop
