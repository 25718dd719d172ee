#include "drop/deploy/evaluation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "drop/base/error.h"
#include "drop/base/signals.h"
#include "drop/deploy/evaluation_report.h"
#include "drop/deploy/policy.h"

namespace drop {
namespace {

// an untrained model of the task's sizes
TrainedModel untrained(const std::string& task, int64_t state_dim, int64_t action_dim) {
  ModelShape shape;
  shape.state_dim = state_dim;
  shape.action_dim = action_dim;
  shape.num_subtasks = 6;
  shape.embedding_dim = 3;
  shape.hidden_width = 16;
  TrainedModel trained{{}, DropModel(shape, at::TensorOptions(at::kFloat)), {}, {}, {}};
  RandomStream stream(5, "init");
  trained.model.initialise(stream);
  trained.origin.task = task;
  trained.origin.dataset = "maze2d-umaze-v1";
  trained.origin.data_return_mean = 50.0;
  trained.state_mean = at::zeros({state_dim}, at::kFloat);
  trained.state_std = at::ones({state_dim}, at::kFloat);
  trained.embeddings = trained.model.task_embedding().embeddings();
  return trained;
}

EvaluationOptions options_of(InferenceRuleKind rule, int64_t episodes = 3) {
  EvaluationOptions options;
  options.rule = rule;
  options.episodes = episodes;
  options.search.ascent_steps = 3;
  options.environment.dataset_id = "maze2d-umaze-v1";
  return options;
}

TEST(Evaluation, RunsEveryRuleToTheTimeLimitAndRepeatsItself) {
  const TrainedModel trained = untrained("maze2d-umaze", 4, 2);
  for (const InferenceRuleKind rule : {InferenceRuleKind::kBest, InferenceRuleKind::kGrad,
                                       InferenceRuleKind::kBestAda, InferenceRuleKind::kGradAda}) {
    const EvaluationResult first = evaluate(trained, options_of(rule));
    const EvaluationResult second = evaluate(trained, options_of(rule));
    ASSERT_EQ(first.episodes.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(first.episodes[i].length, 300);
      EXPECT_FALSE(first.episodes[i].terminated);
      EXPECT_EQ(first.episodes[i].episode_return, second.episodes[i].episode_return);
    }
  }
}

TEST(Evaluation, EpisodesDoNotDependOnHowManyRunTogether) {
  // the same start states, whatever the number of episodes: a dense reward shows any difference
  const TrainedModel trained = untrained("maze2d-umaze-dense", 4, 2);
  EvaluationOptions options = options_of(InferenceRuleKind::kBest, 2);
  const EvaluationResult two = evaluate(trained, options);
  options.episodes = 5;
  const EvaluationResult five = evaluate(trained, options);
  EXPECT_NEAR(two.episodes[0].episode_return, five.episodes[0].episode_return, 1e-3);
  EXPECT_NEAR(two.episodes[1].episode_return, five.episodes[1].episode_return, 1e-3);
  options.seed = 1;
  EXPECT_NE(evaluate(trained, options).episodes[0].episode_return, five.episodes[0].episode_return);
}

TEST(Evaluation, EndedEpisodesLeaveTheOthersAlone) {
  // an untrained hopper falls after different numbers of steps
  TrainedModel trained = untrained("hopper", 11, 3);
  trained.origin.dataset = "hopper-medium-v2";
  const EvaluationResult result = evaluate(trained, options_of(InferenceRuleKind::kBestAda, 6));
  for (const EpisodeResult& episode : result.episodes) {
    EXPECT_TRUE(episode.terminated);
    EXPECT_LT(episode.length, 1000);
    EXPECT_GT(episode.length, 1);
  }
}

TEST(Evaluation, RefusesAModelOfOtherSizes) {
  EXPECT_THROW(evaluate(untrained("maze2d-umaze", 5, 2), options_of(InferenceRuleKind::kBest)),
               UsageError);
  EXPECT_THROW(evaluate(untrained("maze2d-nowhere", 4, 2), options_of(InferenceRuleKind::kBest)),
               UsageError);
}

TEST(Evaluation, StopsAtASignal) {
  const TrainedModel trained = untrained("maze2d-umaze", 4, 2);
  install_stop_handlers();
  std::raise(SIGTERM);
  EXPECT_THROW(evaluate(trained, options_of(InferenceRuleKind::kBest)), Interrupted);
  clear_stop_request();
}

EvaluationResult made_up(InferenceRuleKind rule, std::vector<double> returns) {
  EvaluationResult result;
  result.task = "maze2d-umaze";
  result.rule = rule;
  result.reference = ReferenceScore{20.0, 120.0, "test"};
  for (const double value : returns) result.episodes.push_back({value, 300, false});
  return result;
}

TEST(EvaluationReport, MeansSpreadsAndScores) {
  const std::vector<EvaluationResult> results = {made_up(InferenceRuleKind::kBest, {20, 120}),
                                                 made_up(InferenceRuleKind::kGrad, {70, 70}),
                                                 made_up(InferenceRuleKind::kBest, {220, 120})};
  const std::vector<RuleSummary> summary = summarise(results);
  ASSERT_EQ(summary.size(), 2u);
  EXPECT_EQ(summary[0].checkpoints, 2);
  EXPECT_DOUBLE_EQ(summary[0].mean, 120.0);
  EXPECT_DOUBLE_EQ(*summary[0].normalised_mean, 100.0);
  EXPECT_DOUBLE_EQ(summary[0].std, std::sqrt((100.0 * 100 + 100 * 100) / 4));
  EXPECT_DOUBLE_EQ(*summary[1].normalised_mean, 50.0);

  const nlohmann::ordered_json several = to_json(std::span<const EvaluationResult>(results));
  EXPECT_EQ(several["results"].size(), 3u);
  EXPECT_EQ(several["summary"][1]["rule"], "grad");
  EXPECT_DOUBLE_EQ(summary[0].std_over_checkpoints, 50.0);
  const nlohmann::ordered_json one = to_json(results.front());
  EXPECT_EQ(one["episodes"][1]["normalised_score"], 100.0);
  EXPECT_EQ(one["mean"], 70.0);
  EXPECT_EQ(one["reference"]["expert"], 120.0);
}

TEST(Policy, RulesThatKeepTheirEmbeddingKeepIt) {
  const TrainedModel trained = untrained("maze2d-umaze", 4, 2);
  SearchConfig config;
  Policy policy(trained, config, InferenceRuleKind::kBest);
  policy.begin(1, 0);
  const std::vector<int64_t> episode = {0};
  const std::vector<double> start = {0.0, 0.0, 0.0, 0.0};
  const std::vector<double> later = {3.0, -2.0, 1.0, 4.0};
  policy.act(episode, start);
  const at::Tensor first = at::tensor(start, at::kDouble).view({1, 4}).to(at::kFloat);
  const at::Tensor second = at::tensor(later, at::kDouble).view({1, 4}).to(at::kFloat);
  const at::Tensor kept = policy.infer(first).embeddings;
  const at::Tensor expected = policy.mean_actions(second, kept);
  const std::vector<double> acted = policy.act(episode, later);
  EXPECT_NEAR(acted[0], expected[0][0].item<double>(), 1e-6);
  EXPECT_NEAR(acted[1], expected[0][1].item<double>(), 1e-6);
}

TEST(Policy, SampledActionsAreClippedAndSeeded) {
  const TrainedModel trained = untrained("maze2d-umaze", 4, 2);
  SearchConfig config;
  config.sample = true;
  Policy policy(trained, config, InferenceRuleKind::kBest);
  const std::vector<int64_t> episode = {0};
  const std::vector<double> state = {0.0, 0.0, 0.0, 0.0};
  const auto draw = [&](uint64_t seed) {
    policy.begin(1, seed);
    std::vector<double> all;
    for (int i = 0; i < 200; ++i) {
      for (const double value : policy.act(episode, state)) all.push_back(value);
    }
    return all;
  };
  const std::vector<double> actions = draw(1);
  EXPECT_EQ(actions, draw(1));
  EXPECT_NE(actions, draw(2));
  int clipped = 0;
  for (const double value : actions) {
    EXPECT_LE(std::abs(value), 1.0);
    if (std::abs(value) == 1.0) ++clipped;
  }
  // unit deviation around a small mean: about a third lies beyond the box
  EXPECT_NEAR(clipped, 0.32 * 400, 40);
}

}  // namespace
}  // namespace drop
