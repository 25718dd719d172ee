#include "drop/train/training_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/nn/checkpoint.h"
#include "drop/nn/safetensors.h"
#include "support/models.h"
#include "support/paths.h"
#include "train/eager_step_engine.h"

namespace drop {
namespace {

constexpr int64_t kBatch = 64;
constexpr int64_t kWarmUp = 300;
const std::string kDataHash(64, 'b');

// 40 trajectories of 25 steps: a noisy linear system whose reward falls with the sub-task's number
TrajectoryDataset make_data() {
  TrajectoryDataset data;
  data.state_dim = 4;
  data.action_dim = 2;
  RandomStream stream(11, "test");
  for (int t = 0; t < 40; ++t) {
    double x[4] = {stream.normal(), stream.normal(), stream.normal(), stream.normal()};
    const int64_t begin = data.rows;
    double sum = 0.0;
    for (int step = 0; step < 25; ++step) {
      const double a[2] = {std::tanh(0.5 * x[0] + 0.02 * t + 0.1 * stream.normal()),
                           std::tanh(-0.3 * x[1] + 0.1 * stream.normal())};
      for (const double value : x) data.observations.push_back(static_cast<float>(value));
      for (const double value : a) data.actions.push_back(static_cast<float>(value));
      data.rewards.push_back(1.0 - 0.02 * t + 0.1 * x[2]);
      sum += data.rewards.back();
      data.terminals.push_back(step == 24 && t % 2 == 0 ? 1 : 0);
      data.timeouts.push_back(step == 24 && t % 2 == 1 ? 1 : 0);
      ++data.rows;
      for (int i = 0; i < 4; ++i) x[i] = 0.9 * x[i] + 0.2 * a[i % 2] + 0.05 * stream.normal();
    }
    data.trajectories.push_back({begin, data.rows, sum, t % 2 == 0, true});
  }
  return data;
}

class TrainingFileTest : public ::testing::Test {
 protected:
  TrainingFileTest() {
    TrajectoryDataset data = make_data();
    const std::vector<Trajectory> trajectories = data.trajectories;
    Decomposition decomposition;
    for (int64_t n = 0; n < 10; ++n)
      decomposition.subtasks.push_back({{4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3}, 0, 0, 0, 98});
    normaliser_ = fit_normaliser(data.observations, 4);
    sampler_ = std::make_unique<Sampler>(std::move(data), trajectories, decomposition, normaliser_,
                                         RewardTransform{0.1, 0.0}, SamplerOptions{kBatch, 0, 5},
                                         at::kCPU);
    config_.batch_size = kBatch;
    config_.target_rate = 0.05;
    config_.conservative_threshold = -1.0;  // so that the constraint acts
    config_.multiplier_rate = 0.05;
    origin_.config.train = config_;
    origin_.config.model.hidden_width = 32;
    origin_.config.model.embedding_dim = 3;
    origin_.dataset_sha256 = kDataHash;
    origin_.reward_scale = 0.1;
  }

  TrainState fresh(uint64_t seed = 5) const {
    ModelShape shape;
    shape.state_dim = 4;
    shape.action_dim = 2;
    shape.num_subtasks = 10;
    shape.embedding_dim = 3;
    shape.hidden_width = 32;
    return TrainState(shape, config_, origin_.reward_scale, seed, at::TensorOptions(at::kFloat));
  }

  void save(const TrainState& state, const std::string& name) {
    origin_.step = state.step;
    const std::string checkpoint = folder_.file(name + ".safetensors");
    const std::vector<std::byte> bytes = serialise_checkpoint(
        checkpoint, origin_, state.model, state.model.task_embedding().embeddings(),
        state.multiplier.value().item<double>(), normaliser_,
        testing::uniform({4, 4}, 1).to(at::kFloat));
    save_training_pair(checkpoint, bytes, folder_.file(name + ".training.safetensors"), state);
  }
  void load(TrainState& state, const std::string& checkpoint, const std::string& training) const {
    load_training_pair(folder_.file(checkpoint + ".safetensors"),
                       folder_.file(training + ".training.safetensors"), state, kDataHash);
  }

  testing::TemporaryFolder folder_;
  Normaliser normaliser_;
  std::unique_ptr<Sampler> sampler_;
  TrainConfig config_;
  ModelOrigin origin_;
};

class TrainingFileForms : public TrainingFileTest,
                          public ::testing::WithParamInterface<MultiplierForm> {};

TEST_P(TrainingFileForms, ARestoredStateContinuesBitForBit) {
  config_.multiplier = GetParam();
  TrainState state = fresh();
  EagerStepEngine engine(state, sampler_.get(), config_);
  engine.advance(20);
  save(state, "a");
  TrainState restored = fresh();
  EagerStepEngine other(restored, sampler_.get(), config_);
  load(restored, "a", "a");
  EXPECT_EQ(restored.step, 20);
  engine.advance(10);
  other.advance(10);
  EXPECT_TRUE(restored.model.parameters().flat().equal(state.model.parameters().flat()));
  EXPECT_TRUE(
      restored.model.target_parameters().flat().equal(state.model.target_parameters().flat()));
  EXPECT_TRUE(restored.adam.exp_avg.equal(state.adam.exp_avg));
  EXPECT_TRUE(restored.adam.exp_avg_sq.equal(state.adam.exp_avg_sq));
  EXPECT_EQ(restored.multiplier.value().item<float>(), state.multiplier.value().item<float>());
}

INSTANTIATE_TEST_SUITE_P(Forms, TrainingFileForms,
                         ::testing::Values(MultiplierForm::kHinge, MultiplierForm::kProjected,
                                           MultiplierForm::kLog),
                         [](const auto& info) { return to_string(info.param); });

TEST_F(TrainingFileTest, HalvesThatDoNotBelongTogetherAreRefusedAndChangeNothing) {
  TrainState state = fresh();
  EagerStepEngine engine(state, sampler_.get(), config_);
  engine.advance(3);
  save(state, "a");
  engine.advance(3);
  save(state, "b");
  TrainState target = fresh();
  const at::Tensor before = target.model.parameters().flat().clone();
  EXPECT_THROW(load(target, "a", "b"), DataError);
  EXPECT_THROW(load(target, "b", "a"), DataError);
  TrainState other_seed = fresh(6);
  EXPECT_THROW(load(other_seed, "a", "a"), DataError);
  EXPECT_THROW(
      load_training_pair(folder_.file("a.safetensors"), folder_.file("a.training.safetensors"),
                         target, std::string(64, 'c')),
      DataError);
  EXPECT_TRUE(target.adam.exp_avg.equal(at::zeros_like(before)));
  EXPECT_EQ(target.step, 0);
}

// Ten steps from a checkpoint against PyTorch itself, where a Python with torch is at hand
// (DROP_TORCH_PYTHON names it; the CPU form of the set-up has none that can be imported).
TEST_F(TrainingFileTest, TenStepsFromACheckpointAgreeWithPyTorch) {
  const char* python = std::getenv("DROP_TORCH_PYTHON");
  TrainState state = fresh();
  EagerStepEngine engine(state, sampler_.get(), config_);
  engine.advance(kWarmUp);
  save(state, "start");
  SafetensorsFile batches;
  std::map<std::string, std::vector<at::Tensor>> columns;
  for (int64_t step = kWarmUp; step < kWarmUp + 10; ++step) {
    const Batch batch = sampler_->draw(step);
    columns["batch.states"].push_back(batch.states);
    columns["batch.actions"].push_back(batch.actions);
    columns["batch.rewards"].push_back(batch.rewards);
    columns["batch.next_states"].push_back(batch.next_states);
    columns["batch.next_actions"].push_back(batch.next_actions);
    columns["batch.terminals"].push_back(batch.terminals);
    columns["batch.subtasks"].push_back(batch.subtasks);
    columns["batch.z_u"].push_back(
        draw_uniform_z(state.seed, step, kBatch, 3, at::TensorOptions(at::kFloat)));
  }
  for (const auto& [name, parts] : columns) batches.tensors.emplace_back(name, at::stack(parts));
  write_file_atomically(folder_.file("batches.safetensors"), serialise_safetensors(batches));
  engine.advance(10);
  EXPECT_FALSE(engine.first_bad_step().has_value());
  save(state, "end");
  if (python == nullptr) GTEST_SKIP() << "DROP_TORCH_PYTHON names no Python with torch";
  const std::string command =
      std::string("'") + python + "' '" + DROP_SOURCE_DIR + "/tests/golden/check_training.py' '" +
      folder_.file("start.safetensors") + "' '" + folder_.file("start.training.safetensors") +
      "' '" + folder_.file("batches.safetensors") + "' '" + folder_.file("end.safetensors") + "'";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace drop
