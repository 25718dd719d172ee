#include "drop/data/trajectory_dataset.h"

#include <gtest/gtest.h>

#include <cmath>

#include "drop/base/error.h"

namespace drop {
namespace {

// rows as a string of flags: '.' none, 'T' terminal, 'L' time limit, 'B' both; reward = row + 1
struct Rows {
  explicit Rows(const std::string& flags) {
    for (const char flag : flags) {
      terminals.push_back(flag == 'T' || flag == 'B');
      timeouts.push_back(flag == 'L' || flag == 'B');
      rewards.push_back(static_cast<double>(rewards.size()) + 1.0);
    }
  }
  std::vector<Trajectory> split(SplitRule rule, const std::vector<float>& observations = {},
                                int64_t state_dim = 0) const {
    return split_trajectories(rule, rewards, terminals, timeouts, observations, state_dim);
  }
  std::vector<double> rewards;
  std::vector<uint8_t> terminals, timeouts;
};

void expect_trajectory(const Trajectory& got, int64_t begin, int64_t end, bool terminal,
                       bool finished, int64_t transitions) {
  EXPECT_EQ(got.begin, begin);
  EXPECT_EQ(got.end, end);
  EXPECT_EQ(got.terminal, terminal);
  EXPECT_EQ(got.finished, finished);
  EXPECT_EQ(got.transitions(), transitions);
  // rewards are row + 1
  EXPECT_DOUBLE_EQ(got.return_sum, 0.5 * static_cast<double>((end - begin) * (begin + end + 1)));
}

TEST(SplitTrajectories, TerminalsOrTimeouts) {
  const auto parts = Rows("..T.L..B.").split(SplitRule::kTerminalsOrTimeouts);
  ASSERT_EQ(parts.size(), 4U);
  expect_trajectory(parts[0], 0, 3, true, true, 3);
  expect_trajectory(parts[1], 3, 5, false, true, 1);
  // both flags: it ends by its terminal
  expect_trajectory(parts[2], 5, 8, true, true, 3);
  // a trailing piece of one row has nothing to draw
  expect_trajectory(parts[3], 8, 9, false, false, 0);
}

TEST(SplitTrajectories, NothingTrailsAfterALastFlag) {
  for (const char* flags : {"..T", "..L", "..B"}) {
    const auto parts = Rows(flags).split(SplitRule::kTerminalsOrTimeouts);
    ASSERT_EQ(parts.size(), 1U) << flags;
    EXPECT_TRUE(parts[0].finished) << flags;
  }
  EXPECT_TRUE(Rows("").split(SplitRule::kTerminalsOrTimeouts).empty());
}

TEST(SplitTrajectories, WithoutFlagsEverythingIsOneUnfinishedPiece) {
  const auto parts = Rows(".....").split(SplitRule::kTerminalsOrTimeouts);
  ASSERT_EQ(parts.size(), 1U);
  expect_trajectory(parts[0], 0, 5, false, false, 4);
}

TEST(SplitTrajectories, OneStepTrajectories) {
  const auto parts = Rows("TLT").split(SplitRule::kTerminalsOrTimeouts);
  ASSERT_EQ(parts.size(), 3U);
  EXPECT_EQ(parts[0].transitions(), 1);
  EXPECT_EQ(parts[1].transitions(), 0);
  EXPECT_EQ(parts[2].transitions(), 1);
}

TEST(SplitTrajectories, AntMazeTerminalsOnlyMaskInside) {
  const auto parts = Rows(".TT.L.TB.T").split(SplitRule::kTimeouts);
  ASSERT_EQ(parts.size(), 3U);
  // the terminals in rows 1 and 2 do not end it; its last row has none, so it has no next action
  expect_trajectory(parts[0], 0, 5, false, true, 4);
  expect_trajectory(parts[1], 5, 8, true, true, 3);
  // a terminal is no end here: the trailing piece stays unfinished
  expect_trajectory(parts[2], 8, 10, true, false, 2);
}

TEST(SplitTrajectories, AntMazeVersionZeroByPositionJumps) {
  // jumps of 1.5 after row 2 and of sqrt(0.8^2 + 0.8^2) > 1 after row 4; exactly 1 is none
  const std::vector<float> observations = {0.0F, 0.0F, 9, 1.0F, 0.0F, 9, 1.0F, 0.5F, 9,  //
                                           1.0F, 2.0F, 9, 1.0F, 2.0F, 9,                 //
                                           1.8F, 2.8F, 9, 1.8F, 2.8F, 9};
  const auto parts = Rows("L...T.L").split(SplitRule::kPositionJumps, observations, 3);
  ASSERT_EQ(parts.size(), 3U);
  expect_trajectory(parts[0], 0, 3, false, true, 2);
  expect_trajectory(parts[1], 3, 5, true, true, 2);
  expect_trajectory(parts[2], 5, 7, false, false, 1);
}

TEST(SplitTrajectories, PositionJumpsNeedPositions) {
  EXPECT_THROW(Rows("...").split(SplitRule::kPositionJumps, {1, 2, 3}, 1), DataError);
  EXPECT_THROW(Rows("...").split(SplitRule::kPositionJumps, {1, 2, 3, 4}, 2), DataError);
}

TEST(SplitTrajectories, AdroitByTerminalsUnlessThereAreNone) {
  const auto terminals = Rows(".L.T.L.T").split(SplitRule::kTerminalsElseTimeouts);
  ASSERT_EQ(terminals.size(), 2U);
  expect_trajectory(terminals[0], 0, 4, true, true, 4);
  expect_trajectory(terminals[1], 4, 8, true, true, 4);
  // a terminal that is a timeout as well says nothing against the timeouts
  EXPECT_EQ(Rows(".L..B.L").split(SplitRule::kTerminalsElseTimeouts).size(), 3U);
  const auto timeouts = Rows(".L..L.").split(SplitRule::kTerminalsElseTimeouts);
  ASSERT_EQ(timeouts.size(), 3U);
  expect_trajectory(timeouts[0], 0, 2, false, true, 1);
  expect_trajectory(timeouts[1], 2, 5, false, true, 2);
  expect_trajectory(timeouts[2], 5, 6, false, false, 0);
}

TEST(SplitTrajectories, RefusesFlagsOfAnotherLength) {
  Rows rows("...");
  rows.timeouts.pop_back();
  EXPECT_THROW(rows.split(SplitRule::kTimeouts), RunError);
}

TEST(SplitRules, FollowFamilyAndVersion) {
  EXPECT_EQ(split_rule(Family::kLocomotion, "hopper-medium-v0"), SplitRule::kTerminalsOrTimeouts);
  EXPECT_EQ(split_rule(Family::kMaze2d, "maze2d-umaze-v1"), SplitRule::kTerminalsOrTimeouts);
  EXPECT_EQ(split_rule(Family::kOther, "whatever"), SplitRule::kTerminalsOrTimeouts);
  EXPECT_EQ(split_rule(Family::kAntMaze, "antmaze-umaze-v2"), SplitRule::kTimeouts);
  EXPECT_EQ(split_rule(Family::kAntMaze, "antmaze-umaze-v1"), SplitRule::kTimeouts);
  EXPECT_EQ(split_rule(Family::kAntMaze, "antmaze-large-play-v0"), SplitRule::kPositionJumps);
  EXPECT_EQ(split_rule(Family::kAntMaze, "my_antmaze_file"), SplitRule::kTimeouts);
  EXPECT_EQ(split_rule(Family::kAdroit, "door-human-v0"), SplitRule::kTerminalsElseTimeouts);
}

TEST(TrajectoryDataset, DropsTheUnfinishedPieceUnlessTold) {
  TrajectoryDataset dataset;
  dataset.trajectories = Rows("..T...").split(SplitRule::kTerminalsOrTimeouts);
  EXPECT_EQ(dataset.usable_trajectories(false).size(), 1U);
  EXPECT_EQ(dataset.usable_trajectories(true).size(), 2U);
}

TEST(AutoRewardScale, IsOneOverTheLargestDiscountedReturn) {
  TrajectoryDataset dataset;
  dataset.rewards = {1, 2, 3, -10, 0};
  const std::vector<Trajectory> parts = {{.begin = 0, .end = 3}, {.begin = 3, .end = 5}};
  // |1 + 0.5 * 2 + 0.25 * 3| = 2.75 and |-10|
  EXPECT_DOUBLE_EQ(auto_reward_scale(dataset, parts, 0.5, 0.0), 1.0 / 10.0);
  EXPECT_DOUBLE_EQ(auto_reward_scale(dataset, {parts.data(), 1}, 0.5, 0.0), 1.0 / 2.75);
  // shifted by -1: |0 + 0.5 * 1 + 0.25 * 2| = 1 and |-11 - 0.5| = 11.5
  EXPECT_DOUBLE_EQ(auto_reward_scale(dataset, {parts.data(), 1}, 0.5, -1.0), 1.0);
  EXPECT_DOUBLE_EQ(auto_reward_scale(dataset, parts, 0.5, -1.0), 1.0 / 11.5);
}

TEST(AutoRewardScale, ConstantRewardsSumTheGeometricSeries) {
  TrajectoryDataset dataset;
  dataset.rewards.assign(1000, -1.0);
  const std::vector<Trajectory> parts = {{.begin = 0, .end = 1000}};
  const double expected = 0.01 / (1.0 - std::pow(0.99, 1000));
  EXPECT_NEAR(auto_reward_scale(dataset, parts, 0.99, 0.0), expected, 1e-12);
}

TEST(AutoRewardScale, NoRewardAnywhereStaysFinite) {
  TrajectoryDataset dataset;
  dataset.rewards.assign(5, 0.0);
  const std::vector<Trajectory> parts = {{.begin = 0, .end = 5}};
  EXPECT_DOUBLE_EQ(auto_reward_scale(dataset, parts, 0.99, 0.0), 1e8);
  EXPECT_DOUBLE_EQ(auto_reward_scale(dataset, {}, 0.99, 0.0), 1e8);
}

}  // namespace
}  // namespace drop
