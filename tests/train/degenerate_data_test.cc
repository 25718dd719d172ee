// data that are odd but whole: each kind trains, is saved, resumes and acts, or is refused in one
// line (docs/algorithm.md, "Odd data")

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/random.h"
#include "drop/data/d4rl_file.h"
#include "drop/nn/checkpoint.h"
#include "drop/search/embedding_search.h"
#include "drop/train/step_engine.h"
#include "drop/train/training_data.h"
#include "drop/train/training_file.h"
#include "support/paths.h"
#include "train/made_data.h"

namespace drop {
namespace {

using ::testing::HasSubstr;

struct Row {
  std::vector<double> state;
  std::vector<double> action;
  double reward = 0.0;
  bool terminal = false;
  bool timeout = false;
};

using Rows = std::vector<Row>;

// trajectories of random rows, each ended by a terminal or a timeout
Rows made(int64_t trajectories, int64_t length, bool terminal = false) {
  RandomStream stream(5, "test");
  Rows rows;
  for (int64_t row = 0; row < trajectories * length; ++row) {
    const bool last = row % length == length - 1;
    rows.push_back({{stream.uniform(-1, 1), stream.uniform(-1, 1), stream.uniform(-1, 1)},
                    {stream.uniform(-1, 1), stream.uniform(-1, 1)},
                    stream.uniform(0, 1),
                    last && terminal,
                    last && !terminal});
  }
  return rows;
}

Rows changed(Rows rows, const std::function<void(Row&)>& change) {
  for (Row& row : rows) change(row);
  return rows;
}

Rows with_rewards(double factor) {
  return changed(made(6, 5), [=](Row& row) { row.reward *= factor; });
}

std::string write(const testing::TemporaryFolder& folder, const Rows& rows) {
  const std::string path = folder.file("made.hdf5");
  D4rlWriter writer(path, 3, 2);
  for (const Row& row : rows)
    writer.append(row.state, row.action, row.reward, row.terminal, row.timeout);
  writer.close();
  return path;
}

Config config_for(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_config(R"(
name: odd
device: cpu
threads: 1
decomposition: {num_subtasks: 3, trajectories_per_subtask: 2}
model: {hidden_width: 16, embedding_dim: 2}
train: {batch_size: 8, multiplier_rate: 0.1}
search: {ascent_steps: 5}
dataset: ")" + path + "\"\n",
                      "test", overrides);
}

struct Case {
  std::string name;
  Rows rows;
  std::vector<std::string> overrides;
  int64_t subtasks = 3;

  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

std::vector<Case> cases() {
  const Rows plain = made(6, 5);
  const Rows nothing = with_rewards(0.0);
  const auto lengths = [] {
    Rows rows = made(3, 4);
    for (const Row& row : made(3, 1, /*terminal=*/true)) rows.push_back(row);
    return rows;
  };
  // the discounted return of each trajectory is 0, its rewards are not
  const auto cancelling = [] {
    Rows rows = made(6, 2, /*terminal=*/true);
    for (size_t i = 0; i < rows.size(); ++i) rows[i].reward = i % 2 == 0 ? -0.5 : 1.0;
    return rows;
  };
  return {
      {"Plain", plain, {}},
      {"OneTrajectory", made(1, 12), {}, 1},
      {"OneTransition", made(1, 1, /*terminal=*/true), {}, 1},
      {"TwoRowsAndATimeout", made(1, 2), {}, 1},
      {"TerminalsOnly", made(6, 1, /*terminal=*/true), {}},
      {"LengthsOfOneAmongOthers", lengths(), {}},
      {"ReturnsEqual", changed(plain, [](Row& row) { row.reward = 1.0; }), {}},
      {"ReturnsEqualInBins",
       changed(plain, [](Row& row) { row.reward = 1.0; }),
       {"decomposition.rule=quantization"},
       1},
      {"ReturnsNegative", changed(plain, [](Row& row) { row.reward -= 2.0; }), {}},
      {"RewardsZero", nothing, {}},
      {"RewardsZeroProjected", nothing, {"train.multiplier=projected"}},
      {"RewardsZeroLog", nothing, {"train.multiplier=log"}},
      {"RewardsZeroAndALowThreshold", nothing, {"train.conservative_threshold=-2"}},
      {"RewardsHuge", with_rewards(1e30), {}},
      {"RewardsTiny", with_rewards(1e-30), {}},
      {"RewardsCancel", cancelling(), {"train.discount=0.5"}},
      {"ActionsEqual",
       changed(plain,
               [](Row& row) {
                 row.action = {1.0, -1.0};
               }),
       {}},
      {"ActionsEqualLearnedStd",
       changed(plain,
               [](Row& row) {
                 row.action = {1.0, -1.0};
               }),
       {"model.policy_std=learned"}},
      {"ActionsOutside", changed(plain, [](Row& row) { row.action[0] *= 5.0; }), {}},
      {"ActionsFarOutside", changed(plain, [](Row& row) { row.action[0] = 1e6; }), {}},
      {"StatesConstant",
       changed(plain,
               [](Row& row) {
                 row.state = {0.0, 1e20, -3.0};
               }),
       {}},
      {"StatesHuge",
       changed(plain,
               [](Row& row) {
                 for (double& value : row.state) value *= 1e20;
               }),
       {}},
      {"MoreSubtasksThanData", plain, {"decomposition.num_subtasks=1000"}},
      {"OneSubtask", plain, {"decomposition.num_subtasks=1"}, 1},
      {"EachItsOwn", plain, {"decomposition.rule=trajectory"}, 6},
      {"BatchLargerThanData", plain, {"train.batch_size=300"}},
      {"NoAscentStep", plain, {"search.ascent_steps=0", "search.keep_best_iterate=on"}},
      {"ThresholdNeverReached",
       plain,
       {"train.multiplier=projected", "train.conservative_threshold=1e300"}},
      {"ThresholdNeverMet", plain, {"train.conservative_threshold=-1e300"}},
      {"ThresholdNeverMetProjected",
       plain,
       {"train.multiplier=projected", "train.conservative_threshold=-1e300"}},
      {"ThresholdNeverMetLog",
       plain,
       {"train.multiplier=log", "train.multiplier_initial=1e6", "train.multiplier_rate=1",
        "train.conservative_threshold=-1e300"}},
      {"Cvae", made(1, 2), {"model.embedding=cvae", "decomposition.num_subtasks=4"}, 4},
      {"BehaviourAlone", nothing, {"train.score=off"}},
  };
}

class DegenerateData : public ::testing::TestWithParam<Case> {
 protected:
  void train_save_and_act(StepEngineKind kind) {
    SCOPED_TRACE(to_string(kind));
    const testing::TemporaryFolder folder;
    const Config config = config_for(write(folder, GetParam().rows), GetParam().overrides);
    TrainingData data = prepare_training_data(config);
    const Decomposition decomposition = decompose_training_data(config, data, config.seed);
    const ModelShape shape =
        model_shape(config, decomposition, data.dataset.state_dim, data.dataset.action_dim);
    EXPECT_EQ(shape.num_subtasks, GetParam().subtasks);
    const at::TensorOptions type(at::kFloat);
    const auto seed = static_cast<uint64_t>(config.seed);
    TrainState state(shape, config.train, data.origin.reward_scale, seed, type);
    const Sampler sampler(std::move(data.dataset), data.trajectories, decomposition,
                          data.normaliser, {data.origin.reward_scale, data.origin.reward_shift},
                          {config.train.batch_size, config.train.subtasks_per_batch, seed},
                          at::kCPU);

    // trains: everything stays finite, the multiplier within its limits
    const auto engine =
        make_step_engine(kind, Precision::kFp32, {{&state, &sampler}}, config.train);
    engine->advance(30);
    ASSERT_FALSE(engine->first_bad_step().has_value());
    const StepMetrics metrics = engine->metrics();
    for (const double value :
         {metrics.behaviour, metrics.kl, metrics.td, metrics.conservative_gap, metrics.mean_score})
      EXPECT_TRUE(std::isfinite(value)) << value;
    EXPECT_GE(metrics.multiplier, 0.0);
    EXPECT_LE(metrics.multiplier, 1e6);

    // is saved, and resumes
    const std::string checkpoint = folder.file("a.safetensors");
    const std::string half = folder.file("a.training.safetensors");
    data.origin.config = config;
    data.origin.step = state.step;
    const std::vector<std::byte> bytes = serialise_checkpoint(
        checkpoint, data.origin, state.model,
        deployment_embeddings(state.model, config.search.starts, sampler),
        state.multiplier.value().item<double>(), data.normaliser, data.selftest_states);
    save_training_pair(checkpoint, bytes, half, state);
    TrainState again(shape, config.train, data.origin.reward_scale, seed, type);
    load_training_pair(checkpoint, half, again, data.origin.dataset_sha256);
    EXPECT_TRUE(at::equal(again.model.parameters().flat(), state.model.parameters().flat()));

    // acts by all rules
    const TrainedModel trained = load_checkpoint(checkpoint, at::kCPU);
    const EmbeddingSearch search(trained, config.search);
    const at::Tensor states = trained.standardise(data.selftest_states);
    const double bound = shape.embedding_bound() + 1e-6;
    for (const InferenceRuleKind rule : config.search.rules) {
      SCOPED_TRACE(to_string(rule));
      const Inference answer = make_inference_rule(rule, search)->infer(states);
      EXPECT_LE(answer.embeddings.abs().max().item<double>(), bound);
      EXPECT_LT(answer.subtasks.max().item<int64_t>(), shape.num_subtasks);
      EXPECT_TRUE(at::isfinite(answer.scores / data.origin.reward_scale).all().item<bool>());
      const at::Tensor actions = trained.model.act(trained.model.encode(states), answer.embeddings);
      EXPECT_LE(actions.abs().max().item<double>(), 1.0);
    }
  }
};

TEST_P(DegenerateData, TrainsIsSavedAndActs) {
  train_save_and_act(StepEngineKind::kEager);
  train_save_and_act(StepEngineKind::kFused);
}

INSTANTIATE_TEST_SUITE_P(Kinds, DegenerateData, ::testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

// the message of the refusal; empty when there is none
template <typename Refusal>
std::string refusal_of(const Rows& rows, const std::vector<std::string>& overrides = {}) {
  const testing::TemporaryFolder folder;
  const Config config = config_for(write(folder, rows), overrides);
  try {
    const TrainingData data = prepare_training_data(config);
    decompose_training_data(config, data, 0);
  } catch (const Refusal& error) {
    return error.what();
  }
  return "";
}

TEST(DegenerateDataRefused, NoTransition) {
  const std::string message = refusal_of<DataError>(made(1, 1));
  EXPECT_THAT(message, HasSubstr("made.hdf5"));
  EXPECT_THAT(message, HasSubstr("drawable transition"));
  EXPECT_THAT(refusal_of<DataError>(made(4, 1)), HasSubstr("none of 4 trajectories"));
}

TEST(DegenerateDataRefused, NoFinishedTrajectory) {
  const Rows rows = changed(made(1, 6), [](Row& row) { row.timeout = false; });
  EXPECT_THAT(refusal_of<DataError>(rows), HasSubstr("no finished trajectory"));
  EXPECT_EQ(refusal_of<DataError>(rows, {"decomposition.keep_unfinished=on"}), "");
}

TEST(DegenerateDataRefused, DataOfAnotherTask) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("made.hdf5");
  D4rlWriter writer(path, 3, 2);
  writer.set_attribute("task", "maze2d-large");
  for (const Row& row : made(6, 5))
    writer.append(row.state, row.action, row.reward, row.terminal, row.timeout);
  writer.close();
  try {
    prepare_training_data(config_for(path, {"task=maze2d-umaze"}));
    ADD_FAILURE() << "accepted";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("made.hdf5: attribute 'task' is maze2d-large"));
    EXPECT_THAT(error.what(), HasSubstr("the config's task is maze2d-umaze"));
  }
  // other rewards or goals in the same maze may be meant
  for (const char* task : {"maze2d-large", "maze2d-large-dense", "maze2d-eval-large"})
    EXPECT_NO_THROW(prepare_training_data(config_for(path, {std::string("task=") + task})));
  EXPECT_NO_THROW(prepare_training_data(config_for(path, {})));

  // without the attribute, D4RL's own name tells
  for (const auto& [name, accepted] :
       {std::pair("maze2d-large-dense-v1.hdf5", true),
        std::pair("maze2d-umaze-sparse-v1.hdf5", false), std::pair("mine.hdf5", true)}) {
    const std::string named = folder.file(name);
    D4rlWriter plain(named, 3, 2);
    for (const Row& row : made(6, 5))
      plain.append(row.state, row.action, row.reward, row.terminal, row.timeout);
    plain.close();
    try {
      prepare_training_data(config_for(named, {"task=maze2d-large"}));
      EXPECT_TRUE(accepted) << name;
    } catch (const DataError& error) {
      EXPECT_FALSE(accepted) << error.what();
      EXPECT_THAT(error.what(), HasSubstr("the task of D4RL's maze2d-umaze-v1 is maze2d-umaze"));
    }
  }
}

TEST(DegenerateDataRefused, ValuesThatFloat32CannotCarry) {
  Rows rows = made(6, 5);
  rows[7].reward = 1e33;
  EXPECT_THAT(refusal_of<DataError>(rows), HasSubstr("'rewards' row 7"));
  rows = made(6, 5);
  rows[8].action[1] = -1e7;
  EXPECT_THAT(refusal_of<DataError>(rows), HasSubstr("'actions' row 8"));
  rows = made(6, 5);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].state[2] = i % 2 == 0 ? 3e38 : -3e38;
  EXPECT_THAT(refusal_of<DataError>(rows), HasSubstr("'observations' column 2"));
}

TEST(DegenerateDataRefused, ScalesUnderWhichRawScoresLeaveFloat32) {
  const std::string message =
      refusal_of<UsageError>(with_rewards(1.0), {"train.reward_scale=1e-300"});
  EXPECT_THAT(message, HasSubstr("train.reward_scale: found 1e-300"));
  EXPECT_THAT(message, HasSubstr("auto"));
  EXPECT_EQ(refusal_of<UsageError>(with_rewards(1.0), {"train.reward_scale=1e-35"}), "");
}

TEST(DegenerateDataRefused, MomentsThatHaveLeftFloat32AreNotWritten) {
  const testing::TemporaryFolder folder;
  const ModelShape shape = testing::made_shape();
  TrainState state(shape, TrainConfig{}, 1.0, 0, at::TensorOptions(at::kFloat));
  const std::string checkpoint = folder.file("a.safetensors");
  const Normaliser normaliser{std::vector<float>(4, 0.0F), std::vector<float>(4, 1.0F)};
  const std::vector<std::byte> bytes = serialise_checkpoint(
      checkpoint, ModelOrigin{}, state.model, state.model.task_embedding().embeddings().detach(),
      1.0, normaliser, at::zeros({4, shape.state_dim}));
  const std::string half = folder.file("a.training.safetensors");
  EXPECT_NO_THROW(save_training_pair(checkpoint, bytes, half, state));
  const auto before = read_file(half);
  state.adam.exp_avg_sq[0].fill_(HUGE_VAL);
  EXPECT_THROW(save_training_pair(checkpoint, bytes, half, state), RunError);
  EXPECT_EQ(read_file(half), before);
}

TEST(DegenerateDataScale, ReturnsOfNothingHaveTheLargestScale) {
  const testing::TemporaryFolder folder;
  const TrainingData data = prepare_training_data(config_for(write(folder, with_rewards(0.0)), {}));
  EXPECT_DOUBLE_EQ(data.origin.reward_scale, 1e8);
  EXPECT_EQ(data.largest_score, 0.0);
}

TEST(DegenerateDataScale, NoScoreOfTheDataExceedsTheLargest) {
  const testing::TemporaryFolder folder;
  const Rows rows = changed(made(2, 4), [](Row& row) { row.reward = -3.0; });
  const TrainingData data = prepare_training_data(
      config_for(write(folder, rows), {"train.reward_scale=0.5", "train.discount=0.9"}));
  EXPECT_NEAR(data.largest_score, 0.5 * 3.0 / 0.1, 1e-9);
}

}  // namespace
}  // namespace drop
