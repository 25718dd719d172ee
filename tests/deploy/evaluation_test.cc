#include "drop/deploy/evaluation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "drop/base/error.h"
#include "drop/base/signals.h"
#include "drop/deploy/evaluation_observer.h"
#include "drop/deploy/evaluation_report.h"
#include "drop/deploy/policy.h"
#include "support/models.h"

namespace drop {
namespace {

TrainedModel untrained(const std::string& task, int64_t state_dim, int64_t action_dim) {
  return testing::untrained(task, "maze2d-umaze-v1", state_dim, action_dim);
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

// all that an evaluation is given to see
struct Watcher : EvaluationObserver {
  void on_start(const VectorEnvironment& environments) override {
    start.resize(static_cast<size_t>(environments.size()));
    for (int64_t i = 0; i < environments.size(); ++i)
      start[static_cast<size_t>(i)] = environments[i].qpos();
    returns.assign(start.size(), 0.0);
    states.assign(start.size(), {});
  }
  void on_step(const EvaluationStep& step, const VectorEnvironment& environments) override {
    EXPECT_EQ(step.step, steps++);
    const auto count = static_cast<int64_t>(step.episodes.size());
    const auto width = static_cast<size_t>(environments.info().state_dim);
    EXPECT_EQ(step.results.size(), step.episodes.size());
    EXPECT_EQ(static_cast<int64_t>(step.actions.size()), count * environments.info().action_dim);
    EXPECT_EQ(step.inference.embeddings.sizes(), (at::IntArrayRef{count, 3}));
    EXPECT_EQ(step.inference.subtasks.sizes(), at::IntArrayRef{count});
    EXPECT_EQ(step.inference.scores.sizes(), at::IntArrayRef{count});
    for (size_t k = 0; k < step.episodes.size(); ++k) {
      const auto i = static_cast<size_t>(step.episodes[k]);
      returns[i] += step.results[k].reward;
      const auto before = step.states.subspan(k * width, width);
      const auto after = step.next_states.subspan(k * width, width);
      // a step begins where the one before it ended
      if (!states[i].empty()) {
        EXPECT_EQ(states[i], std::vector<double>(before.begin(), before.end()));
      }
      states[i].assign(after.begin(), after.end());
    }
  }

  int64_t steps = 0;
  std::vector<std::vector<double>> start;   // qpos
  std::vector<std::vector<double>> states;  // latest
  std::vector<double> returns;
};

TEST(Evaluation, NeitherThreadsNorObserversChangeAnything) {
  TrainedModel trained = untrained("hopper", 11, 3);
  trained.origin.dataset = "hopper-medium-v2";
  for (const InferenceRuleKind rule : {InferenceRuleKind::kGrad, InferenceRuleKind::kGradAda}) {
    EvaluationOptions options = options_of(rule, 5);
    options.env_threads = 1;
    const EvaluationResult alone = evaluate(trained, options);
    for (const int64_t threads : {1, 2, 4}) {
      Watcher first;
      Watcher second;
      options.env_threads = threads;
      options.observers = {&first, &second};
      const EvaluationResult watched = evaluate(trained, options);
      for (size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(watched.episodes[i].episode_return, alone.episodes[i].episode_return);
        EXPECT_EQ(watched.episodes[i].length, alone.episodes[i].length);
        EXPECT_EQ(first.returns[i], alone.episodes[i].episode_return);
      }
      EXPECT_GT(first.steps, 1);
      EXPECT_EQ(second.steps, first.steps);
      EXPECT_NE(first.start[0], first.start[1]);
    }
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

TEST(Policy, TellsWhatActed) {
  const TrainedModel trained = untrained("maze2d-umaze", 4, 2);
  const auto tensor_of = [](const std::vector<double>& rows) {
    return at::tensor(rows, at::kDouble).view({-1, 4}).to(at::kFloat);
  };
  // three episodes, of which the second ends at once
  const std::vector<int64_t> all = {0, 1, 2};
  const std::vector<int64_t> some = {0, 2};
  std::vector<double> start(12);
  std::vector<double> later(8);
  RandomStream stream(3, "test");
  for (double& value : start) value = 5.0 * stream.normal();
  for (double& value : later) value = 5.0 * stream.normal();
  for (const InferenceRuleKind rule : {InferenceRuleKind::kBest, InferenceRuleKind::kGrad,
                                       InferenceRuleKind::kBestAda, InferenceRuleKind::kGradAda}) {
    SCOPED_TRACE(to_string(rule));
    Policy policy(trained, SearchConfig{}, rule);
    policy.begin(3, 0);
    policy.act(all, start);
    const Inference first = policy.latest();
    const Inference inferred = policy.infer(tensor_of(start));
    EXPECT_TRUE(at::equal(first.embeddings, inferred.embeddings));
    EXPECT_TRUE(at::equal(first.subtasks, inferred.subtasks));
    EXPECT_TRUE(at::allclose(first.scores, inferred.scores, 1e-5, 1e-6));

    policy.act(some, later);
    const Inference second = policy.latest();
    const bool adapts = rule == InferenceRuleKind::kBestAda || rule == InferenceRuleKind::kGradAda;
    const at::Tensor kept = at::tensor(some, at::kLong);
    const Inference expected = adapts ? policy.infer(tensor_of(later))
                                      : Inference{first.embeddings.index_select(0, kept),
                                                  first.subtasks.index_select(0, kept),
                                                  {}};
    EXPECT_TRUE(at::equal(second.embeddings, expected.embeddings));
    EXPECT_TRUE(at::equal(second.subtasks, expected.subtasks));
    // the score is that of this state, whenever the embedding was found
    const at::Tensor scores = trained.model.score_embeddings(trained.model.encode(tensor_of(later)),
                                                             second.embeddings.unsqueeze(1));
    EXPECT_TRUE(at::allclose(second.scores, scores.squeeze(1), 1e-5, 1e-6));
  }
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
