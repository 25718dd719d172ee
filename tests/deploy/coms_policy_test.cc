#include "drop/deploy/coms_policy.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "drop/base/error.h"
#include "drop/deploy/evaluation.h"
#include "support/models.h"

namespace drop {
namespace {

// 2 states, one hidden unit in each layer, 1 action: small enough to compute by hand
const BatchedMlp kForm = {{2, 1, 1, 1}, 0.0, true};

TEST(ComsPolicy, ActsOnStandardisedStates) {
  // weight, bias of each layer
  const at::Tensor weights = at::tensor({0.5f, -1.0f, 0.25f, 2.0f, -0.5f, 0.75f, 0.1f});
  ComsPolicy policy(kForm, weights, {{1.0f, -1.0f}, {2.0f, 0.5f}});
  EXPECT_EQ(policy.state_dim(), 2);
  EXPECT_EQ(policy.action_dim(), 1);
  policy.begin(3, 0, 0);
  const auto by_hand = [](double x, double y) {
    const double first = std::max(0.0, 0.5 * (x - 1) / 2 - (y + 1) / 0.5 + 0.25);
    return std::tanh(0.75 * std::max(0.0, 2 * first - 0.5) + 0.1);
  };
  const std::vector<double> states = {3, -1.2, 0, 0};
  const std::vector<double> actions = policy.act(std::vector<int64_t>{0, 2}, states);
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_NEAR(actions[0], by_hand(3, -1.2), 1e-6);
  EXPECT_NEAR(actions[1], by_hand(0, 0), 1e-6);
  EXPECT_GT(std::abs(actions[0] - actions[1]), 0.1);
  EXPECT_FALSE(policy.latest().embeddings.defined());
}

class ComsRollout : public ::testing::Test {
 protected:
  static ComsPolicy policy(int64_t state_dim, int64_t action_dim) {
    const BatchedMlp form = coms_policy_form(state_dim, action_dim, {});
    RandomStream stream(3, "init");
    const auto dim = static_cast<size_t>(state_dim);
    return {form, form.initial(stream), {std::vector<float>(dim, 0), std::vector<float>(dim, 1)}};
  }
  static EvaluationOptions options() {
    EvaluationOptions options;
    options.rule = InferenceRuleKind::kGrad;
    options.episodes = 3;
    options.seed = 4;
    options.environment.dataset_id = "maze2d-umaze-dense-v1";
    return options;
  }
};

// the first reward of an episode that stands still: what the start state alone decides
class StandsStill final : public Actor {
 public:
  int64_t state_dim() const override { return 4; }
  int64_t action_dim() const override { return 2; }
  void begin(int64_t /*episodes*/, uint64_t /*seed*/, uint64_t /*first*/) override {}
  std::vector<double> act(std::span<const int64_t> episodes,
                          std::span<const double> states) override {
    if (first_.empty()) first_.assign(states.begin(), states.end());
    return std::vector<double>(2 * episodes.size(), 0.0);
  }
  const std::vector<double>& first() const { return first_; }

 private:
  std::vector<double> first_;
};

TEST_F(ComsRollout, IsEvaluatedLikeACheckpoint) {
  ModelOrigin origin;
  origin.task = "maze2d-umaze-dense";
  origin.dataset = "maze2d-umaze-dense-v1";
  origin.step = 7;
  ComsPolicy actor = policy(4, 2);
  const EvaluationResult result = evaluate(origin, actor, options());
  ASSERT_EQ(result.episodes.size(), 3u);
  EXPECT_EQ(result.rule, InferenceRuleKind::kGrad);
  EXPECT_EQ(result.step, 7);
  EXPECT_EQ(result.episodes[2].length, 300);
  EXPECT_TRUE(result.reference.has_value());
  EXPECT_EQ(evaluate(origin, actor, options()).mean(), result.mean());

  // every actor begins at the same states
  StandsStill first;
  StandsStill second;
  evaluate(origin, first, options());
  EvaluationOptions other = options();
  evaluate(origin, second, other);
  EXPECT_EQ(first.first(), second.first());
  other.seed = 5;
  StandsStill third;
  evaluate(origin, third, other);
  EXPECT_NE(first.first(), third.first());
}

TEST_F(ComsRollout, OfAnotherTaskIsRefused) {
  ModelOrigin origin;
  origin.task = "maze2d-umaze-dense";
  ComsPolicy actor = policy(11, 3);
  EXPECT_THROW(evaluate(origin, actor, options()), UsageError);
}

}  // namespace
}  // namespace drop
