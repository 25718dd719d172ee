#include "drop/data/dataset_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "drop/data/dataset_id.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::HasSubstr;

DatasetSummary summary_of(const std::string& name) {
  const DatasetSource source = find_dataset(testing::fixture(name + ".hdf5"));
  return summarise(inspect_d4rl_file(source.path),
                   read_d4rl_file(source, {.require_finite = false}), source.task);
}

TEST(DatasetSummary, CountsAndMeasures) {
  const DatasetSummary summary = summary_of("hopper_medium-v2");
  EXPECT_EQ(summary.trajectories, 4);
  EXPECT_EQ(summary.ended_by_terminal, 2);
  EXPECT_EQ(summary.ended_otherwise, 1);
  EXPECT_EQ(summary.unfinished, 1);
  EXPECT_EQ(summary.unfinished_rows, 5);
  // 10 and 7 rows to a terminal, 8 rows to a timeout
  EXPECT_EQ(summary.drawable_transitions, 10 + 7 + 7);
  EXPECT_EQ(summary.terminal_rows, 2);
  EXPECT_EQ(summary.timeout_rows, 2);
  EXPECT_DOUBLE_EQ(summary.lengths.mean, 25.0 / 3.0);
  // returns 24, 24, 21
  EXPECT_DOUBLE_EQ(summary.returns.mean, 23.0);
  EXPECT_DOUBLE_EQ(summary.returns.std, std::sqrt(2.0));
  EXPECT_EQ(summary.histogram.front(), 1);
  EXPECT_EQ(summary.histogram.back(), 2);
  EXPECT_EQ(summary.actions_out_of_range, 0);
  EXPECT_EQ(summary.non_finite.count, 0);
}

TEST(DatasetSummary, SpreadOfFewNumbers) {
  EXPECT_EQ(spread_of(std::vector<double>{}).count, 0);
  const Spread one = spread_of(std::vector<double>{-2.0});
  EXPECT_EQ(one.mean, -2.0);
  EXPECT_EQ(one.std, 0.0);
  EXPECT_EQ(one.min, -2.0);
  EXPECT_EQ(one.max, -2.0);
}

TEST(DatasetSummary, CountsActionsOutsideTheirRange) {
  TrajectoryDataset dataset;
  dataset.rows = 4;
  dataset.state_dim = dataset.action_dim = 1;
  dataset.observations = {0, 0, 0, 0};
  dataset.actions = {-1.0F, 1.0F, 1.0001F, -3.0F};
  dataset.rewards = {0, 0, 0, 0};
  dataset.terminals = dataset.timeouts = {0, 0, 0, 0};
  const DatasetSummary summary = summarise({}, dataset);
  EXPECT_EQ(summary.actions_out_of_range, 2);
  EXPECT_DOUBLE_EQ(summary.actions.min, -3.0);
}

TEST(DatasetSummary, NonFiniteRowsSpoilNoFigure) {
  const DatasetSummary summary = summary_of("broken_not_finite");
  EXPECT_EQ(summary.non_finite.count, 3);
  // the trajectory with the bad reward is left out
  EXPECT_EQ(summary.returns.count, 2);
  EXPECT_TRUE(std::isfinite(summary.returns.mean));
  EXPECT_EQ(std::accumulate(summary.histogram.begin(), summary.histogram.end(), int64_t{0}), 2);
  EXPECT_THAT(to_text(summary), HasSubstr("observations row 13: nan"));
  EXPECT_THAT(to_text(summary), HasSubstr("rewards row 4: -inf"));
  const auto json = nlohmann::json::parse(to_json(summary));
  EXPECT_EQ(json["non_finite_rows"], 3);
  EXPECT_EQ(json["non_finite_first"][2]["key"], "rewards");
}

TEST(DatasetSummary, TextAndJsonSayTheSame) {
  const DatasetSummary summary = summary_of("hopper_medium-v2");
  const std::string text = to_text(summary);
  EXPECT_THAT(text, HasSubstr("hopper-medium-v2, family locomotion, task hopper"));
  EXPECT_THAT(text, HasSubstr("4: 2 end by terminal, 1 by time limit or reset, 1 unfinished"));
  EXPECT_THAT(text, HasSubstr("metadata/policy/fc0/weight  [4, 3]"));
  EXPECT_THAT(text, HasSubstr("24 drawable"));
  EXPECT_THAT(text, HasSubstr(summary.sha256));
  const auto json = nlohmann::json::parse(to_json(summary));
  EXPECT_EQ(json["dataset"], "hopper-medium-v2");
  EXPECT_EQ(json["rows"], 30);
  EXPECT_EQ(json["drawable_transitions"], 24);
  EXPECT_EQ(json["return"]["mean"], 23.0);
  EXPECT_EQ(json["arrays"].size(), 11U);
  EXPECT_EQ(json["return_histogram"].size(), 16U);
}

}  // namespace
}  // namespace drop
