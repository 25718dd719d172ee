// The CUDA engines, whole: sampling, training steps and ascents as graphs, held against the CPU's.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "chosen_backend.h"
#include "cuda_emulation.h"
#include "drop/base/error.h"
#include "kernels/cuda_kernels.h"
#include "search/fused_ascent.h"
#include "support/models.h"
#include "train/fused_step_engine.h"
#include "train/graph_step_engine.h"
#include "train/made_data.h"

namespace drop {
namespace {

class CudaEngines : public ::testing::Test {
 protected:
  void TearDown() override { emulation::settings() = {}; }
};

TrainConfig short_runs() {
  TrainConfig config;
  config.target_rate = 0.05;
  config.multiplier_rate = 0.02;
  return config;
}

// of the networks' form
struct Form {
  PolicyStd policy_std = PolicyStd::kFixed;
  EmbeddingKind embedding = EmbeddingKind::kTable;
  bool bounded_embedding = true;
};

TrainState make_state(const TrainConfig& config, uint64_t seed, int64_t width = 40,
                      const Form& form = {}) {
  ModelShape shape = testing::made_shape();
  shape.hidden_width = width;
  shape.policy_std = form.policy_std;
  shape.embedding = form.embedding;
  shape.bounded_embedding = form.bounded_embedding;
  return TrainState(shape, config, /*reward_scale=*/0.1, seed, at::TensorOptions(at::kFloat));
}

double distance(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).norm() / expected.norm()).item<double>();
}

void expect_same(const TrainState& found, const TrainState& expected, double tolerance) {
  EXPECT_EQ(found.step, expected.step);
  EXPECT_LT(distance(found.model.parameters().flat(), expected.model.parameters().flat()),
            tolerance);
  EXPECT_LT(
      distance(found.model.target_parameters().flat(), expected.model.target_parameters().flat()),
      tolerance);
  EXPECT_LT(distance(found.adam.exp_avg_sq, expected.adam.exp_avg_sq), 10 * tolerance);
  EXPECT_EQ(found.adam.step_count.item<float>(), expected.adam.step_count.item<float>());
  EXPECT_NEAR(found.multiplier.value().item<double>(), expected.multiplier.value().item<double>(),
              1e-4);
}

void expect_same(const StepMetrics& found, const StepMetrics& expected) {
  EXPECT_NEAR(found.behaviour, expected.behaviour, 1e-4);
  EXPECT_NEAR(found.td, expected.td, 1e-4);
  EXPECT_NEAR(found.conservative_gap, expected.conservative_gap, 1e-4);
  EXPECT_NEAR(found.mean_score, expected.mean_score, 1e-4);
  EXPECT_NEAR(found.kl, expected.kl, 1e-4);
}

// each graph is run, recorded and replayed
void expect_graph_like_fused(const TrainConfig& config, size_t num_seeds, int64_t batch_size,
                             const Form& form = {}, std::vector<int64_t> counts = {1, 1, 2, 2}) {
  std::vector<std::unique_ptr<Sampler>> samplers;
  std::vector<TrainState> found, expected;
  found.reserve(num_seeds);
  expected.reserve(num_seeds);
  std::vector<SeedRun> seeds;
  for (size_t i = 0; i < num_seeds; ++i) {
    samplers.push_back(testing::made_sampler(batch_size));
    found.push_back(make_state(config, 11 + i, 40, form));
    expected.push_back(make_state(config, 11 + i, 40, form));
    seeds.push_back({&found.back(), samplers.back().get()});
  }
  GraphStepEngine graph(seeds, config, Precision::kFp32);
  for (const int64_t count : counts) {
    graph.advance(count);
    for (size_t i = 0; i < num_seeds; ++i) {
      FusedStepEngine fused(expected[i], samplers[i].get(), config, batch_size, Precision::kFp32);
      fused.advance(count);
      expect_same(found[i], expected[i], 1e-4);
      expect_same(graph.metrics(i), fused.metrics());
      EXPECT_FALSE(graph.first_bad_step(i));
    }
  }
}

TEST_F(CudaEngines, GraphsTrainAsTheCpuDoes) {
  // the graph of 16 steps as well
  expect_graph_like_fused(short_runs(), 1, 19, {}, {2, 35, 1});
}

TEST_F(CudaEngines, GraphsTrainSeveralSeedsAtOnce) { expect_graph_like_fused(short_runs(), 3, 16); }

TEST_F(CudaEngines, GraphsTrainAllForms) {
  TrainConfig violated = short_runs();
  violated.conservative_threshold = -0.5;
  expect_graph_like_fused(violated, 2, 16, {PolicyStd::kLearned});
  TrainConfig logarithmic = short_runs();
  logarithmic.multiplier = MultiplierForm::kLog;
  expect_graph_like_fused(logarithmic, 2, 16);
  TrainConfig off = short_runs();
  off.conservative = false;
  off.td_updates_embedding = false;
  expect_graph_like_fused(off, 2, 16);
  TrainConfig cloning = short_runs();
  cloning.score = false;
  expect_graph_like_fused(cloning, 2, 16);
  expect_graph_like_fused(short_runs(), 2, 16, {.bounded_embedding = false});
  expect_graph_like_fused(violated, 2, 16, {.embedding = EmbeddingKind::kCvae});
}

// whatever order a graph's dependencies allow, the result is the same
TEST_F(CudaEngines, BranchesWaitForEachOther) {
  const auto sampler = testing::made_sampler(16);
  at::Tensor first;
  for (uint64_t order = 1; order < 5; ++order) {
    emulation::settings().graph_order_seed = 1000 * order;
    TrainState state = make_state(short_runs(), 11);
    GraphStepEngine graph({{&state, sampler.get()}}, short_runs(), Precision::kFp32);
    for (int i = 0; i < 4; ++i) graph.advance(1);
    const at::Tensor flat = state.model.parameters().flat().detach().clone();
    if (!first.defined()) first = flat;
    EXPECT_TRUE(at::equal(flat, first));
  }
}

TEST_F(CudaEngines, HalfThePrecisionTrainsNearlyAlike) {
  const auto sampler = testing::made_sampler(32);
  TrainState expected = make_state(short_runs(), 11, 64);
  const at::Tensor start = expected.model.parameters().flat().detach().clone();
  FusedStepEngine fused(expected, sampler.get(), short_runs(), 32, Precision::kFp32);
  TrainState found = make_state(short_runs(), 11, 64);
  GraphStepEngine graph({{&found, sampler.get()}}, short_runs(), Precision::kBf16);
  fused.advance(10);
  graph.advance(10);
  EXPECT_NEAR(graph.metrics().td, fused.metrics().td, 0.05 * fused.metrics().td);
  EXPECT_NEAR(graph.metrics().behaviour, fused.metrics().behaviour,
              0.02 * fused.metrics().behaviour);
  const at::Tensor way = expected.model.parameters().flat().detach() - start;
  const at::Tensor off = found.model.parameters().flat().detach() - start - way;
  EXPECT_LT((off.norm() / way.norm()).item<double>(), 0.4);
}

TEST_F(CudaEngines, RestoredStatesCount) {
  const auto sampler = testing::made_sampler(16);
  for (const size_t num_seeds : {1, 2}) {
    std::vector<TrainState> states;
    states.reserve(2);
    std::vector<SeedRun> seeds;
    for (size_t i = 0; i < num_seeds; ++i) {
      states.push_back(make_state(short_runs(), 11 + i));
      seeds.push_back({&states.back(), sampler.get()});
    }
    GraphStepEngine graph(seeds, short_runs(), Precision::kFp32);
    graph.advance(3);
    // as if read from a checkpoint
    const TrainState other = make_state(short_runs(), 5);
    for (TrainState& state : states) {
      const at::NoGradGuard no_grad;
      state.model.parameters().flat().copy_(other.model.parameters().flat());
      state.step = 40;
    }
    graph.advance(1);
    EXPECT_EQ(states.front().step, 41);
    EXPECT_LT(distance(states.front().model.parameters().flat(), other.model.parameters().flat()),
              0.2);
  }
}

TEST_F(CudaEngines, BadStepsAreRemembered) {
  const auto sampler = testing::made_sampler(16);
  TrainState state = make_state(short_runs(), 11);
  GraphStepEngine graph({{&state, sampler.get()}}, short_runs(), Precision::kFp32);
  graph.advance(3);
  {
    const at::NoGradGuard no_grad;
    state.model.parameters().view("score.score_encoder.3.bias").fill_(NAN);
  }
  graph.advance(3);
  const auto bad = graph.first_bad_step();
  ASSERT_TRUE(bad);
  EXPECT_EQ(bad->step, 3);
  EXPECT_TRUE(std::isnan(bad->td));
}

TEST_F(CudaEngines, SeedsMustBeAlike) {
  const auto sampler = testing::made_sampler(16);
  TrainState one = make_state(short_runs(), 1);
  TrainState later = make_state(short_runs(), 2);
  later.step = 7;
  EXPECT_THROW(GraphStepEngine({{&one, sampler.get()}, {&later, sampler.get()}}, short_runs(),
                               Precision::kFp32),
               UsageError);
}

// the device draws bit by bit what the host draws
TEST_F(CudaEngines, SamplingIsTheHosts) {
  for (const int64_t subtasks_per_batch : {0, 3}) {
    constexpr int64_t kBatch = 21;
    const auto made = testing::made_sampler(kBatch, subtasks_per_batch);
    const Sampler& sampler = *made;
    constexpr int64_t kDim = 3;
    ModelShape shape;
    shape.embedding = EmbeddingKind::kCvae;
    shape.embedding_dim = kDim;
    constexpr uint64_t kSeed = 77;
    const TransitionTable& table = sampler.table();
    const cuda::SamplingSource source{
        {sampler.transition_rows().data(), sampler.offsets().data(),
         static_cast<int64_t>(sampler.offsets().size()) - 1, kBatch, subtasks_per_batch},
        RandomStream(sampler.options().seed, "sampling").key(),
        RandomStream(kSeed, "z_u").key(),
        RandomStream(kSeed, "posterior").key(),
        table.states().const_data_ptr<float>(),
        table.actions().const_data_ptr<float>(),
        table.rewards().const_data_ptr<float>(),
        table.terminals().const_data_ptr<float>(),
        table.rows() - 1};
    for (const int64_t step : {int64_t{0}, int64_t{1}, int64_t{12345}}) {
      const auto plain = [&](int64_t columns) { return at::full({kBatch, columns}, -9.0f); };
      Batch found{plain(table.state_dim()),      plain(table.action_dim()), plain(1),
                  plain(table.state_dim()),      plain(table.action_dim()), plain(1),
                  at::zeros({kBatch}, at::kLong)};
      const at::Tensor z = plain(kDim);
      const at::Tensor noise = plain(kDim);
      const auto rows = [](const at::Tensor& tensor) -> cuda::Rows<float> {
        return {tensor.data_ptr<float>(), 0, tensor.size(-1)};
      };
      cuda::SampledBatch batch;
      batch.states = rows(found.states);
      batch.actions = rows(found.actions);
      batch.rewards = rows(found.rewards);
      batch.next_states = rows(found.next_states);
      batch.next_actions = rows(found.next_actions);
      batch.terminals = rows(found.terminals);
      batch.uniform_z = rows(z);
      batch.posterior_noise = rows(noise);
      batch.bound = static_cast<float>(shape.embedding_bound());
      batch.subtasks = {found.subtasks.data_ptr<int64_t>(), 0, 1};
      batch.batch_size = kBatch;
      batch.state_dim = table.state_dim();
      batch.action_dim = table.action_dim();
      batch.embedding_dim = kDim;
      cuda::sample(batch, &source, &step, 0, 1, nullptr);
      const Batch expected = sampler.draw(step);
      EXPECT_TRUE(at::equal(found.states, expected.states));
      EXPECT_TRUE(at::equal(found.actions, expected.actions));
      EXPECT_TRUE(at::equal(found.rewards.squeeze(1), expected.rewards));
      EXPECT_TRUE(at::equal(found.next_states, expected.next_states));
      EXPECT_TRUE(at::equal(found.next_actions, expected.next_actions));
      EXPECT_TRUE(at::equal(found.terminals.squeeze(1), expected.terminals));
      EXPECT_TRUE(at::equal(found.subtasks, expected.subtasks));
      const StepNoise drawn = draw_noise(kSeed, step, kBatch, shape, at::TensorOptions(at::kFloat));
      EXPECT_TRUE(at::equal(z, drawn.uniform_z));
      EXPECT_TRUE(at::equal(noise, drawn.posterior));
    }
  }
}

TEST_F(CudaEngines, AscentsEndWhereTheCpusDo) {
  const TrainState state = make_state(short_runs(), 3);
  const ModelShape& shape = state.model.shape();
  const at::Tensor states = testing::uniform({3, shape.state_dim}, 1).to(at::kFloat);
  const at::Tensor starts =
      testing::uniform({3, 6, shape.embedding_dim}, 2, -0.9, 0.9).to(at::kFloat);
  FusedAscent cpu("cpu", state.model, Precision::kFp32);
  const emulation::CudaChosen chosen;
  FusedAscent cuda("cuda", state.model, Precision::kFp32);
  for (const bool normalise : {false, true}) {
    for (const bool best : {false, true}) {
      AscentOptions options;
      options.steps = 7;
      options.step_size = 0.05;
      options.normalise_gradient = normalise;
      options.keep_best_iterate = best;
      const AscentResult expected = cpu.run(states, starts, options);
      // run, record, replay with other states
      for (int repeat = 0; repeat < 3; ++repeat) {
        const AscentResult found = cuda.run(states, starts, options);
        EXPECT_LT((found.embeddings - expected.embeddings).abs().max().item<double>(), 1e-5);
        EXPECT_LT((found.scores - expected.scores).abs().max().item<double>(), 1e-5);
        cuda.run(states * 0.5, starts * 0.5, options);
      }
    }
  }
}

// one launch for a whole ascent
TEST_F(CudaEngines, AnAscentIsOneGraph) {
  const TrainState state = make_state(short_runs(), 3);
  const emulation::CudaChosen chosen;
  FusedAscent cuda("cuda", state.model, Precision::kFp32);
  const at::Tensor states = at::zeros({1, state.model.shape().state_dim});
  const at::Tensor starts = at::zeros({1, 8, state.model.shape().embedding_dim});
  AscentOptions options;
  options.steps = 4;
  cuda.run(states, starts, options);
  emulation::take_counts();
  cuda.run(states, starts, options);
  const emulation::Counts second = emulation::take_counts();
  EXPECT_GT(second.recorded, 0);
  cuda.run(states, starts, options);
  const emulation::Counts third = emulation::take_counts();
  EXPECT_EQ(third.recorded, 0);
  EXPECT_EQ(third.kernels + third.products, second.recorded);
}

}  // namespace
}  // namespace drop
