#include "drop/deploy/trace.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/deploy/evaluation.h"
#include "drop/deploy/policy.h"
#include "support/models.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

constexpr int64_t kEpisodes = 2;

TrainedModel hopper() {
  TrainedModel trained = testing::untrained("hopper", "hopper-medium-v2", 11, 3);
  trained.origin.step = 40;
  trained.origin.reward_scale = 0.25;
  return trained;
}

EvaluationOptions options_of(InferenceRuleKind rule, TraceRecorder& trace) {
  EvaluationOptions options;
  options.rule = rule;
  options.episodes = kEpisodes;
  options.seed = 3;
  options.search.ascent_steps = 3;
  options.environment.dataset_id = "hopper-medium-v2";
  options.observers = {&trace};
  trace.begin(rule);
  return options;
}

at::Tensor tensor_of(const Hdf5Array& array) {
  return at::tensor(array.values, at::kDouble).view(array.shape);
}

// one episode of a trace, read back
class TracedEpisode {
 public:
  TracedEpisode(std::string path, const std::string& rule, int64_t index)
      : path_(std::move(path)), group_(rule + "/episode_00" + std::to_string(index) + "/") {}
  Hdf5Array array(const std::string& name) const { return read_hdf5_array(path_, group_ + name); }
  std::vector<double> row(const std::string& name, int64_t index) const {
    const Hdf5Array all = array(name);
    const int64_t width = all.shape.at(1);
    return {all.values.begin() + index * width, all.values.begin() + (index + 1) * width};
  }

 private:
  std::string path_;
  std::string group_;
};

class Trace : public ::testing::Test {
 protected:
  // every rule of an untrained hopper, traced once
  static void SetUpTestSuite() {
    folder_ = std::make_unique<testing::TemporaryFolder>();
    const TrainedModel trained = hopper();
    TraceRecorder trace(path(), trained, "some/where/step_000000040.safetensors", 3);
    for (const InferenceRuleKind rule :
         {InferenceRuleKind::kBest, InferenceRuleKind::kGrad, InferenceRuleKind::kBestAda,
          InferenceRuleKind::kGradAda}) {
      results_.push_back(evaluate(trained, options_of(rule, trace)));
    }
    EXPECT_FALSE(std::filesystem::exists(path()));
    trace.close();
  }
  static void TearDownTestSuite() {
    folder_.reset();
    results_.clear();
  }
  static std::string path() { return folder_->file("trace.h5"); }

  static void for_each_episode(
      const std::function<void(const EvaluationResult&, int64_t, const TracedEpisode&)>& look) {
    for (const EvaluationResult& result : results_) {
      for (int64_t i = 0; i < kEpisodes; ++i) {
        SCOPED_TRACE(to_string(result.rule) + " " + std::to_string(i));
        look(result, i, TracedEpisode(path(), to_string(result.rule), i));
      }
    }
  }

  static std::unique_ptr<testing::TemporaryFolder> folder_;
  static std::vector<EvaluationResult> results_;
};
std::unique_ptr<testing::TemporaryFolder> Trace::folder_;
std::vector<EvaluationResult> Trace::results_;

TEST_F(Trace, SaysWhereItComesFrom) {
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"task", "hopper"},
      {"dataset", "hopper-medium-v2"},
      {"checkpoint", "some/where/step_000000040.safetensors"},
      {"step", "40"},
      {"seed", "3"},
      {"format_version", "1"}};
  for (const auto& [name, value] : expected)
    EXPECT_EQ(read_hdf5_text_attribute(path(), name), value) << name;
  EXPECT_NE(read_hdf5_text_attribute(path(), "commit").value_or(""), "");
  const Hdf5Array embeddings = read_hdf5_array(path(), "embeddings");
  EXPECT_EQ(embeddings.type, "float32");
  EXPECT_TRUE(at::equal(tensor_of(embeddings), hopper().embeddings.to(at::kDouble)));
  // no run's folder around that checkpoint, no maze around a hopper
  EXPECT_THAT(hdf5_array_names(path()), Not(Contains("subtask_return_mean")));
  EXPECT_THAT(hdf5_array_names(path()), Not(Contains("maze_walls")));
}

TEST_F(Trace, HoldsEveryEpisodeInFull) {
  // exactly these arrays
  EXPECT_EQ(hdf5_array_names(path()).size(), 1 + 4 * kEpisodes * 9u);
  for_each_episode([](const EvaluationResult& result, int64_t i, const TracedEpisode& episode) {
    const EpisodeResult& known = result.episodes[static_cast<size_t>(i)];
    const auto has = [&](const char* name, const std::vector<int64_t>& shape, const char* type) {
      const Hdf5Array array = episode.array(name);
      EXPECT_EQ(array.shape, shape) << name;
      EXPECT_EQ(array.type, type) << name;
    };
    has("states", {known.length + 1, 11}, "float64");
    has("qpos", {known.length + 1, 6}, "float64");
    has("qvel", {known.length + 1, 6}, "float64");
    has("actions", {known.length, 3}, "float64");
    has("rewards", {known.length}, "float64");
    has("terminated", {known.length}, "int64");
    has("embeddings", {known.length, 3}, "float32");
    has("subtasks", {known.length}, "int64");
    has("scores", {known.length}, "float32");
    const std::vector<double> rewards = episode.array("rewards").values;
    EXPECT_EQ(std::accumulate(rewards.begin(), rewards.end(), 0.0), known.episode_return);
    std::vector<double> terminated(static_cast<size_t>(known.length), 0.0);
    terminated.back() = known.terminated ? 1.0 : 0.0;
    EXPECT_EQ(episode.array("terminated").values, terminated);
  });
}

TEST_F(Trace, ItsActionsRepeatItsStates) {
  const auto environment = EnvironmentRegistry::instance().make("hopper", {Physics::kD4rl, {}});
  for_each_episode([&](const EvaluationResult& result, int64_t i, const TracedEpisode& episode) {
    std::vector<double> state(11);
    environment->set_state(episode.row("qpos", 0), episode.row("qvel", 0), state);
    std::vector<double> states = state;
    std::vector<double> qvel = environment->qvel();
    const Hdf5Array actions = episode.array("actions");
    const int64_t length = result.episodes[static_cast<size_t>(i)].length;
    for (int64_t t = 0; t < length; ++t) {
      environment->step(std::span(actions.values).subspan(static_cast<size_t>(t) * 3, 3), state);
      states.insert(states.end(), state.begin(), state.end());
      const std::vector<double> after = environment->qvel();
      qvel.insert(qvel.end(), after.begin(), after.end());
    }
    EXPECT_EQ(episode.array("states").values, states);
    EXPECT_EQ(episode.array("qvel").values, qvel);
    EXPECT_EQ(episode.row("qpos", length), environment->qpos());
  });
}

TEST_F(Trace, TellsWhatActedAndItsScore) {
  const TrainedModel trained = hopper();
  for_each_episode([&](const EvaluationResult& result, int64_t i, const TracedEpisode& episode) {
    const int64_t length = result.episodes[static_cast<size_t>(i)].length;
    const at::Tensor states =
        tensor_of(episode.array("states")).narrow(0, 0, length).to(at::kFloat);
    const at::Tensor embeddings = tensor_of(episode.array("embeddings")).to(at::kFloat);
    const at::Tensor subtasks = tensor_of(episode.array("subtasks")).to(at::kLong);
    SearchConfig search;
    search.ascent_steps = 3;
    Policy policy(trained, search, result.rule);

    // embedding and sub-task: of each state, or of the first one
    const bool adapts =
        result.rule == InferenceRuleKind::kBestAda || result.rule == InferenceRuleKind::kGradAda;
    const Inference expected = policy.infer(adapts ? states : states.narrow(0, 0, 1));
    EXPECT_TRUE(at::allclose(embeddings, expected.embeddings.expand({length, 3}), 1e-4, 1e-5));
    EXPECT_TRUE(at::equal(subtasks, expected.subtasks.expand({length})));
    if (!adapts) {
      EXPECT_TRUE(at::equal(embeddings, embeddings.narrow(0, 0, 1).expand({length, 3})));
    }

    // the actions are that embedding's, the scores raw
    EXPECT_TRUE(at::allclose(tensor_of(episode.array("actions")).to(at::kFloat),
                             policy.mean_actions(states, embeddings), 1e-4, 1e-5));
    const at::Tensor scores =
        trained.model
            .score_embeddings(trained.model.encode(trained.standardise(states)),
                              embeddings.unsqueeze(1))
            .squeeze(1) /
        0.25;
    EXPECT_TRUE(
        at::allclose(tensor_of(episode.array("scores")).to(at::kFloat), scores, 1e-4, 1e-5));
  });
}

TEST_F(Trace, KnowsTheSubtasksReturnsOfItsRun) {
  const testing::TemporaryFolder run;
  create_folders(run.file("checkpoints"));
  const std::string checkpoint = run.file("checkpoints/step_000000040.safetensors");
  const auto traced = [&](const std::string& json) {
    write_file_atomically(run.file("decomposition.json"), json);
    TraceRecorder trace(run.file("t.h5"), hopper(), checkpoint, 0);
    trace.close();
    const std::vector<std::string> names = hdf5_array_names(run.file("t.h5"));
    return std::count(names.begin(), names.end(), "subtask_return_mean") == 0
               ? std::vector<double>{}
               : read_hdf5_array(run.file("t.h5"), "subtask_return_mean").values;
  };
  std::string subtasks;
  for (int n = 0; n < 6; ++n)
    subtasks += std::string(n ? "," : "") + "{\"return_mean\": " + std::to_string(n) + ".5}";
  EXPECT_THAT(traced("{\"subtasks\": [" + subtasks + "]}"),
              ElementsAre(0.5, 1.5, 2.5, 3.5, 4.5, 5.5));
  // one that is not this model's, or not readable, is none
  EXPECT_THAT(traced("{\"subtasks\": [{\"return_mean\": 1}]}"), ElementsAre());
  EXPECT_THAT(traced("{\"subtasks\": [1, 2, 3, 4, 5, 6]}"), ElementsAre());
  EXPECT_THAT(traced("{\"subtasks\": 3}"), ElementsAre());
  EXPECT_THAT(traced("no json"), ElementsAre());
}

TEST_F(Trace, DrawsTheMaze) {
  const TrainedModel trained = testing::untrained("maze2d-umaze", "maze2d-umaze-v1", 4, 2);
  const std::string path = folder_->file("maze.h5");
  TraceRecorder trace(path, trained, "c", 3);
  for (const InferenceRuleKind rule : {InferenceRuleKind::kBest, InferenceRuleKind::kGrad})
    evaluate(trained, options_of(rule, trace));
  trace.close();
  const FloorPlan plan = EnvironmentRegistry::instance().make("maze2d-umaze")->floor_plan().value();
  EXPECT_THAT(read_hdf5_array(path, "goal").values, ElementsAre(plan.goal[0], plan.goal[1]));
  const Hdf5Array walls = read_hdf5_array(path, "maze_walls");
  EXPECT_THAT(walls.shape, ElementsAre(static_cast<int64_t>(plan.walls.size()), 4));
  for (size_t i = 0; i < walls.values.size(); ++i)
    EXPECT_EQ(walls.values[i], plan.walls[i / 4][i % 4]);
}

TEST_F(Trace, SaysAtOnceWhatCannotBeWritten) {
  EXPECT_THROW(TraceRecorder(folder_->file("missing/trace.h5"), hopper(), "c", 0), RunError);
  EXPECT_THROW(TraceRecorder(folder_->path().string(), hopper(), "c", 0), RunError);
  // without close() an older file stands
  write_file_atomically(folder_->file("old"), std::string_view("old"));
  { TraceRecorder(folder_->file("old"), hopper(), "c", 0).begin(InferenceRuleKind::kBest); }
  EXPECT_EQ(read_text_file(folder_->file("old")), "old");
}

}  // namespace
}  // namespace drop
