// The graph engine on a GPU against the fused engine on the CPU: the same batches, float products.
#include "train/graph_step_engine.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "train/fused_step_engine.h"
#include "train/made_data.h"

namespace drop {
namespace {

TrainState make_state(const TrainConfig& config, uint64_t seed, at::Device device) {
  ModelShape shape = testing::made_shape();
  shape.hidden_width = 64;
  return TrainState(shape, config, /*reward_scale=*/0.1, seed,
                    at::TensorOptions(device).dtype(at::kFloat));
}

void expect_like_the_cpu(const TrainConfig& config, size_t num_seeds) {
  constexpr int64_t kBatch = 100;
  const auto host_sampler = testing::made_sampler(kBatch);
  const auto sampler = testing::made_sampler(kBatch, 0, at::kCUDA);
  std::vector<TrainState> found, expected;
  found.reserve(num_seeds);
  expected.reserve(num_seeds);
  std::vector<SeedRun> seeds;
  for (size_t i = 0; i < num_seeds; ++i) {
    found.push_back(make_state(config, 11 + i, at::kCUDA));
    expected.push_back(make_state(config, 11 + i, at::kCPU));
    seeds.push_back({&found.back(), sampler.get()});
  }
  GraphStepEngine graph(seeds, config, Precision::kFp32);
  for (const int64_t count : {2, 35, 1}) {
    graph.advance(count);
    for (size_t i = 0; i < num_seeds; ++i) {
      FusedStepEngine fused(expected[i], host_sampler.get(), config, kBatch, Precision::kFp32);
      fused.advance(count);
      EXPECT_EQ(found[i].step, expected[i].step);
      EXPECT_NEAR(graph.metrics(i).td, fused.metrics().td, 1e-3 * fused.metrics().td);
      EXPECT_NEAR(graph.metrics(i).behaviour, fused.metrics().behaviour,
                  1e-3 * fused.metrics().behaviour);
      EXPECT_FALSE(graph.first_bad_step(i));
      const at::Tensor weights = expected[i].model.parameters().flat().detach();
      const at::Tensor error = found[i].model.parameters().flat().detach().cpu() - weights;
      EXPECT_LT((error.norm() / weights.norm()).item<double>(), 1e-3);
    }
  }
}

class GraphStepEngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU here";
    config_.target_rate = 0.05;
    config_.multiplier_rate = 0.02;
  }
  TrainConfig config_;
};

TEST_F(GraphStepEngineTest, TrainsAsTheCpuDoes) { expect_like_the_cpu(config_, 1); }

TEST_F(GraphStepEngineTest, TrainsSeveralSeedsAtOnce) { expect_like_the_cpu(config_, 5); }

TEST_F(GraphStepEngineTest, TrainsAllForms) {
  TrainConfig violated = config_;
  violated.conservative_threshold = -0.5;
  expect_like_the_cpu(violated, 2);
  TrainConfig logarithmic = config_;
  logarithmic.multiplier = MultiplierForm::kLog;
  expect_like_the_cpu(logarithmic, 1);
  TrainConfig off = config_;
  off.conservative = false;
  expect_like_the_cpu(off, 2);
}

// sums are taken in a fixed order, whatever the branches do
TEST_F(GraphStepEngineTest, RepeatsItself) {
  const auto sampler = testing::made_sampler(256, 0, at::kCUDA);
  at::Tensor first;
  for (int repeat = 0; repeat < 3; ++repeat) {
    TrainState state = make_state(config_, 11, at::kCUDA);
    GraphStepEngine graph({{&state, sampler.get()}}, config_, Precision::kFp32);
    graph.advance(100);
    const at::Tensor flat = state.model.parameters().flat().detach().cpu();
    if (!first.defined()) first = flat;
    EXPECT_TRUE(at::equal(flat, first));
  }
}

}  // namespace
}  // namespace drop
