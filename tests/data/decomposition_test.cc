#include "drop/data/decomposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "drop/base/error.h"
#include "drop/base/random.h"

namespace drop {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Groups = std::vector<std::vector<int64_t>>;

Decomposition run(DecompositionKind rule, int64_t n, int64_t m, const std::vector<double>& returns,
                  uint64_t seed = 0, std::vector<int64_t> transitions = {}) {
  DecompositionConfig config;
  config.rule = rule;
  config.num_subtasks = n;
  config.trajectories_per_subtask = m;
  if (transitions.empty()) transitions.assign(returns.size(), 10);
  return decompose(config, returns, transitions, seed);
}

Groups groups_of(const Decomposition& decomposition) {
  Groups groups;
  for (const Subtask& subtask : decomposition.subtasks) groups.push_back(subtask.trajectories);
  return groups;
}

std::vector<double> random_returns(int count, uint64_t seed) {
  RandomStream rng(seed, "test");
  std::vector<double> returns;
  for (int index = 0; index < count; ++index) returns.push_back(rng.uniform(-50.0, 300.0));
  return returns;
}

TEST(Rank, BestFirstAndTiesInFileOrder) {
  const auto result = run(DecompositionKind::kRank, 3, 2, {5, 9, 5, 1, 9, 7});
  EXPECT_EQ(groups_of(result), (Groups{{1, 4}, {5, 0}, {2, 3}}));
  EXPECT_TRUE(result.warnings.empty());
  EXPECT_DOUBLE_EQ(result.subtasks[1].return_mean, 6.0);
  EXPECT_DOUBLE_EQ(result.subtasks[1].return_min, 5.0);
  EXPECT_DOUBLE_EQ(result.subtasks[1].return_max, 7.0);
  EXPECT_EQ(result.subtasks[1].transitions, 20);
}

TEST(Rank, TheRestIsLeftOut) {
  EXPECT_EQ(groups_of(run(DecompositionKind::kRank, 2, 1, {1, 2, 3})), (Groups{{2}, {1}}));
}

TEST(Rank, ShrinksWithBothNumbersInTheWarning) {
  const auto result = run(DecompositionKind::kRank, 10, 2, {1, 2, 3, 4, 5});
  EXPECT_EQ(groups_of(result), (Groups{{4, 3}, {2, 1}, {0}}));
  ASSERT_EQ(result.warnings.size(), 1U);
  EXPECT_THAT(result.warnings[0], HasSubstr("10 sub-tasks"));
  EXPECT_THAT(result.warnings[0], HasSubstr("3 can be filled"));
}

TEST(Rank, ASmallerLastSubtaskAloneIsNoWarning) {
  const auto result = run(DecompositionKind::kRank, 3, 2, {1, 2, 3, 4, 5});
  EXPECT_EQ(result.num_subtasks(), 3);
  EXPECT_TRUE(result.warnings.empty());
}

TEST(Quantization, BinsAreClosedAboveAndTheSmallestIsInTheFirst) {
  // edges 0, 10, 20, 30: 10 and 20 belong to the bin below
  const auto result = run(DecompositionKind::kQuantization, 3, 9, {0, 10, 10.5, 20, 20.5, 30, 5});
  EXPECT_EQ(groups_of(result), (Groups{{0, 1, 6}, {2, 3}, {4, 5}}));
}

TEST(Quantization, EveryEdgeBelongsBelowInSpiteOfRounding) {
  // edges k / 100 are no exact binary numbers
  std::vector<double> returns;
  for (int edge = 0; edge <= 100; ++edge) returns.push_back(edge / 100.0);
  const auto groups = groups_of(run(DecompositionKind::kQuantization, 100, 9, returns));
  ASSERT_EQ(groups.size(), 100U);
  EXPECT_THAT(groups[0], ElementsAre(0, 1));
  for (int64_t bin = 1; bin < 100; ++bin) {
    EXPECT_THAT(groups[static_cast<size_t>(bin)], ElementsAre(bin + 1));
  }
}

TEST(Quantization, EmptyBinsAreDroppedWithAWarning) {
  const auto result = run(DecompositionKind::kQuantization, 10, 5, {0, 1, 100});
  EXPECT_EQ(groups_of(result), (Groups{{0, 1}, {2}}));
  ASSERT_EQ(result.warnings.size(), 1U);
  EXPECT_THAT(result.warnings[0], HasSubstr("10 sub-tasks were asked for, 2 can be filled"));
}

TEST(Quantization, EqualReturnsMakeOneBin) {
  EXPECT_EQ(groups_of(run(DecompositionKind::kQuantization, 4, 9, {7, 7, 7})), (Groups{{0, 1, 2}}));
}

TEST(Quantization, BinsOfTheLargestReturnsAreFinite) {
  const auto result = run(DecompositionKind::kQuantization, 10'000'000, 3, {-1e300, 0.0, 1e300});
  EXPECT_EQ(groups_of(result), (Groups{{0}, {1}, {2}}));
}

TEST(Quantization, DrawsAtMostMFromABin) {
  std::vector<double> returns(40, 0.0);
  returns.push_back(100.0);
  std::set<std::vector<int64_t>> draws;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto groups = groups_of(run(DecompositionKind::kQuantization, 2, 3, returns, seed));
    ASSERT_EQ(groups.size(), 2U);
    EXPECT_EQ(groups[0].size(), 3U);
    EXPECT_EQ(std::set<int64_t>(groups[0].begin(), groups[0].end()).size(), 3U);
    EXPECT_THAT(groups[1], ElementsAre(40));
    draws.insert(groups[0]);
  }
  EXPECT_GT(draws.size(), 15U);
}

TEST(Random, DrawsOverTheWholeSplit) {
  // each trajectory is equally likely to be drawn: 2 * 3 of 12
  std::vector<int> drawn(12, 0);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const auto groups =
        groups_of(run(DecompositionKind::kRandom, 2, 3, random_returns(12, 1), seed));
    ASSERT_EQ(groups.size(), 2U);
    for (const auto& group : groups) {
      EXPECT_EQ(group.size(), 3U);
      for (const int64_t index : group) ++drawn[static_cast<size_t>(index)];
    }
  }
  // 1000 expected, standard deviation 22
  for (const int count : drawn) EXPECT_NEAR(count, 1000, 110);
}

TEST(Random, ShrinksLikeRank) {
  const auto result = run(DecompositionKind::kRandom, 10, 2, {1, 2, 3, 4, 5});
  EXPECT_EQ(result.num_subtasks(), 3);
  EXPECT_EQ(result.subtasks[2].trajectories.size(), 1U);
  EXPECT_EQ(result.warnings.size(), 1U);
}

TEST(TrajectoryRuleTest, EveryTrajectoryIsItsOwnSubtask) {
  const auto result = run(DecompositionKind::kTrajectory, 1, 1, {3, 1, 2});
  EXPECT_EQ(groups_of(result), (Groups{{0}, {1}, {2}}));
  EXPECT_TRUE(result.warnings.empty());
}

TEST(Decompose, AnyRuleUsesEachTrajectoryAtMostOnce) {
  const std::vector<double> returns = random_returns(97, 3);
  for (const auto rule : {DecompositionKind::kRank, DecompositionKind::kQuantization,
                          DecompositionKind::kRandom, DecompositionKind::kTrajectory}) {
    for (const int64_t n : {1, 7, 97, 1000}) {
      for (const int64_t m : {1, 5, 200}) {
        const auto result = run(rule, n, m, returns, 11);
        std::set<int64_t> seen;
        for (const Subtask& subtask : result.subtasks) {
          ASSERT_FALSE(subtask.trajectories.empty());
          if (rule != DecompositionKind::kTrajectory) {
            EXPECT_LE(static_cast<int64_t>(subtask.trajectories.size()), m);
          }
          EXPECT_EQ(subtask.transitions, 10 * static_cast<int64_t>(subtask.trajectories.size()));
          EXPECT_LE(subtask.return_min, subtask.return_mean);
          EXPECT_LE(subtask.return_mean, subtask.return_max);
          for (const int64_t index : subtask.trajectories) {
            EXPECT_TRUE(index >= 0 && index < 97);
            EXPECT_TRUE(seen.insert(index).second) << "drawn twice";
          }
        }
        if (rule == DecompositionKind::kRank || rule == DecompositionKind::kRandom) {
          EXPECT_EQ(static_cast<int64_t>(seen.size()), std::min<int64_t>(97, n * m));
        }
      }
    }
  }
}

TEST(Decompose, IsAPureFunctionOfItsInputs) {
  const std::vector<double> returns = random_returns(60, 5);
  for (const auto rule : {DecompositionKind::kQuantization, DecompositionKind::kRandom}) {
    EXPECT_EQ(groups_of(run(rule, 4, 3, returns, 1)), groups_of(run(rule, 4, 3, returns, 1)));
    EXPECT_NE(groups_of(run(rule, 4, 3, returns, 1)), groups_of(run(rule, 4, 3, returns, 2)));
  }
}

TEST(Decompose, DropsSubtasksWithoutATransition) {
  const auto result = run(DecompositionKind::kRank, 3, 1, {3, 2, 1}, 0, {5, 0, 4});
  EXPECT_EQ(groups_of(result), (Groups{{0}, {2}}));
  ASSERT_EQ(result.warnings.size(), 1U);
  EXPECT_THAT(result.warnings[0], HasSubstr("1 sub-tasks have no drawable transition"));
}

TEST(Decompose, RefusesWhatCannotBeCut) {
  EXPECT_THROW(run(DecompositionKind::kRank, 2, 2, {}), DataError);
  EXPECT_THROW(run(DecompositionKind::kRank, 2, 2, {1, 2}, 0, {0, 0}), DataError);
  EXPECT_THROW(run(DecompositionKind::kRank, 2, 2, {1, std::nan("")}), DataError);
  EXPECT_THROW(run(DecompositionKind::kRank, 2, 2, {1, 1e301}), DataError);
  EXPECT_THROW(run(DecompositionKind::kRank, 0, 2, {1, 2}), UsageError);
  EXPECT_THROW(run(DecompositionKind::kRank, 2, 0, {1, 2}), UsageError);
  EXPECT_THROW(run(DecompositionKind::kRank, 2, 2, {1, 2}, 0, {1}), RunError);
}

TEST(Decompose, JsonHoldsEverything) {
  const auto json =
      nlohmann::json::parse(to_json(run(DecompositionKind::kRank, 5, 2, {1, 4, 3}, 9)));
  EXPECT_EQ(json["rule"], "rank");
  EXPECT_EQ(json["num_subtasks"], 2);
  EXPECT_EQ(json["requested_subtasks"], 5);
  EXPECT_EQ(json["trajectories_per_subtask"], 2);
  EXPECT_EQ(json["seed"], 9);
  EXPECT_EQ(json["warnings"].size(), 1U);
  ASSERT_EQ(json["subtasks"].size(), 2U);
  EXPECT_EQ(json["subtasks"][0]["trajectories"], (std::vector<int>{1, 2}));
  EXPECT_EQ(json["subtasks"][0]["return_mean"], 3.5);
  EXPECT_EQ(json["subtasks"][0]["transitions"], 20);
}

}  // namespace
}  // namespace drop
