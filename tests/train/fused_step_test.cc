// The fused step engine against the eager reference, over training steps on drawn batches.

#include "train/fused_step.h"

#include <gtest/gtest.h>

#include <functional>

#include "drop/base/error.h"
#include "support/golden.h"
#include "support/models.h"
#include "train/eager_step_engine.h"
#include "train/fused_step_engine.h"
#include "train/made_data.h"

namespace drop {
namespace {

using testing::deviation;

constexpr int64_t kSteps = 100;

struct Variant {
  const char* name;
  std::function<void(TrainConfig&)> set;
  PolicyStd policy_std = PolicyStd::kFixed;
  EmbeddingKind embedding = EmbeddingKind::kTable;
  bool bounded_embedding = true;
};

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all = {
      {"hinge_satisfied", [](TrainConfig&) {}},
      {"hinge_violated", [](TrainConfig& c) { c.conservative_threshold = -0.05; }},
      {"projected",
       [](TrainConfig& c) {
         c.multiplier = MultiplierForm::kProjected;
         c.multiplier_initial = 0.5;
       }},
      {"log", [](TrainConfig& c) { c.multiplier = MultiplierForm::kLog; }},
      {"off", [](TrainConfig& c) { c.conservative = false; }},
      {"no_td_embedding", [](TrainConfig& c) { c.td_updates_embedding = false; }},
      {"learned_std", [](TrainConfig&) {}, PolicyStd::kLearned},
      {"free", [](TrainConfig&) {}, PolicyStd::kFixed, EmbeddingKind::kTable, false},
      {"cvae", [](TrainConfig& c) { c.conservative_threshold = -0.05; }, PolicyStd::kFixed,
       EmbeddingKind::kCvae},
      {"no_score", [](TrainConfig& c) { c.score = false; }},
      {"cvae_no_score", [](TrainConfig& c) { c.score = false; }, PolicyStd::kLearned,
       EmbeddingKind::kCvae},
  };
  return all;
}

TrainState make_state(const Variant& variant, const TrainConfig& config, at::ScalarType type,
                      int64_t width) {
  ModelShape shape = testing::made_shape();
  shape.hidden_width = width;
  shape.policy_std = variant.policy_std;
  shape.embedding = variant.embedding;
  shape.bounded_embedding = variant.bounded_embedding;
  return TrainState(shape, config, /*reward_scale=*/0.1, /*seed=*/11, at::TensorOptions(type));
}

class FusedStepEngineTest : public ::testing::TestWithParam<size_t> {
 protected:
  const Variant& variant() const { return variants()[GetParam()]; }
  TrainConfig config() const {
    TrainConfig config;
    config.target_rate = 0.05;
    config.multiplier_rate = 0.02;
    variant().set(config);
    return config;
  }
};

// in double both engines compute the same numbers, whatever the order of summation
TEST_P(FusedStepEngineTest, HundredStepsInDouble) {
  const auto sampler = testing::made_sampler(17);
  TrainState expected = make_state(variant(), config(), at::kDouble, 12);
  TrainState found = make_state(variant(), config(), at::kDouble, 12);
  EagerStepEngine eager(expected, sampler.get(), config());
  FusedStepEngine fused(found, sampler.get(), config(), 17, Precision::kFp32);
  for (int64_t step = 0; step < kSteps; ++step) {
    const auto number = static_cast<uint64_t>(step);
    const StepNoise noise{testing::uniform({17, 2}, 100 + number),
                          testing::uniform({17, 2}, 1000 + number, -2.0, 2.0)};
    Batch batch = sampler->draw(step);
    for (at::Tensor* tensor : {&batch.states, &batch.actions, &batch.rewards, &batch.next_states,
                               &batch.next_actions, &batch.terminals})
      *tensor = tensor->to(at::kDouble);
    eager.step(batch, noise);
    fused.step(batch, noise);
    const StepMetrics a = eager.metrics();
    const StepMetrics b = fused.metrics();
    EXPECT_NEAR(b.behaviour, a.behaviour, 1e-10);
    EXPECT_NEAR(b.kl, a.kl, 1e-10);
    EXPECT_NEAR(b.td, a.td, 1e-10);
    EXPECT_NEAR(b.conservative_gap, a.conservative_gap, 1e-10);
    EXPECT_NEAR(b.multiplier, a.multiplier, 1e-10);
    EXPECT_NEAR(b.mean_score, a.mean_score, 1e-10);
  }
  EXPECT_LT(deviation(found.model.parameters().flat(), expected.model.parameters().flat()), 1e-8);
  EXPECT_LT(
      deviation(found.model.target_parameters().flat(), expected.model.target_parameters().flat()),
      1e-8);
  EXPECT_LT(deviation(found.adam.exp_avg_sq, expected.adam.exp_avg_sq), 1e-8);
  EXPECT_EQ(found.step, kSteps);
}

// in float the engines part slowly: Adam's first steps divide rounding errors of tiny gradients by
// themselves
TEST_P(FusedStepEngineTest, HundredStepsInFloat) {
  const auto sampler = testing::made_sampler(32);
  TrainState expected = make_state(variant(), config(), at::kFloat, 32);
  TrainState found = make_state(variant(), config(), at::kFloat, 32);
  EagerStepEngine eager(expected, sampler.get(), config());
  FusedStepEngine fused(found, sampler.get(), config(), 32, Precision::kFp32);
  eager.advance(kSteps);
  fused.advance(kSteps / 2);
  fused.advance(kSteps - kSteps / 2);
  const StepMetrics a = eager.metrics();
  const StepMetrics b = fused.metrics();
  EXPECT_NEAR(b.behaviour, a.behaviour, 1e-4 * std::abs(a.behaviour));
  EXPECT_NEAR(b.td, a.td, 1e-3 * std::abs(a.td) + 1e-6);
  EXPECT_NEAR(b.conservative_gap, a.conservative_gap, 1e-4);
  EXPECT_NEAR(b.multiplier, a.multiplier, 1e-4);
  EXPECT_LT(deviation(found.model.parameters().flat(), expected.model.parameters().flat()), 2e-3);
  EXPECT_EQ(found.step, kSteps);
  EXPECT_FALSE(fused.first_bad_step().has_value());
}

INSTANTIATE_TEST_SUITE_P(All, FusedStepEngineTest, ::testing::Range(size_t{0}, variants().size()),
                         [](const auto& info) { return std::string(variants()[info.param].name); });

TEST(FusedStepEngine, RemembersTheFirstBadStep) {
  const Variant& variant = variants()[0];
  const TrainConfig config;
  const auto sampler = testing::made_sampler(8);
  TrainState state = make_state(variant, config, at::kFloat, 16);
  FusedStepEngine engine(state, sampler.get(), config, 8, Precision::kFp32);
  engine.advance(3);
  EXPECT_FALSE(engine.first_bad_step().has_value());
  state.model.parameters()
      .view("score.score_encoder.3.bias")
      .fill_(std::numeric_limits<float>::quiet_NaN());
  engine.advance(2);
  ASSERT_TRUE(engine.first_bad_step().has_value());
  EXPECT_EQ(engine.first_bad_step()->step, 3);
  EXPECT_TRUE(std::isnan(engine.first_bad_step()->td));
}

// a loss may be finite where a gradient is not
TEST(FusedStepEngine, RemembersAStepWithABadGradientAlone) {
  const Variant& variant = variants()[0];
  const TrainConfig config;
  const auto sampler = testing::made_sampler(8);
  TrainState state = make_state(variant, config, at::kFloat, 16);
  FusedStepEngine engine(state, sampler.get(), config, 8, Precision::kFp32);
  // the square of 1e30 overflows in the gradient's sums, a loss in double does not
  state.model.parameters().view("score.score_encoder.3.bias").fill_(1e30f);
  state.model.parameters().view("score.score_encoder.3.weight").fill_(1e30f);
  engine.advance(1);
  ASSERT_TRUE(engine.first_bad_step().has_value());
  EXPECT_EQ(engine.first_bad_step()->step, 0);
}

TEST(StepEngine, AutoChoosesTheFusedEngineOnACpu) {
  const Variant& variant = variants()[0];
  const TrainConfig config;
  const auto sampler = testing::made_sampler(8);
  TrainState state = make_state(variant, config, at::kFloat, 16);
  EXPECT_EQ(
      make_step_engine(StepEngineKind::kAuto, Precision::kFp32, {{&state, sampler.get()}}, config)
          ->name(),
      "fused");
  EXPECT_EQ(
      make_step_engine(StepEngineKind::kEager, Precision::kFp32, {{&state, sampler.get()}}, config)
          ->name(),
      "eager");
  EXPECT_THROW(
      make_step_engine(StepEngineKind::kGraph, Precision::kFp32, {{&state, sampler.get()}}, config),
      UsageError);
  EXPECT_THROW(
      make_step_engine(StepEngineKind::kEager, Precision::kBf16, {{&state, sampler.get()}}, config),
      UsageError);
}

}  // namespace
}  // namespace drop
