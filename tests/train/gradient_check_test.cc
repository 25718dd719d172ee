// Gradients of every loss against central differences in double precision.

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "support/models.h"
#include "train/eager_step_engine.h"

namespace drop {
namespace {

using testing::small_model;
using testing::uniform;

constexpr double kStep = 1e-6;
// central differences in double: truncation 1e-12, rounding 1e-16 / 1e-6
constexpr double kTolerance = 2e-8;

Batch random_batch(int64_t rows) {
  Batch batch;
  batch.states = uniform({rows, 3}, 1);
  batch.actions = uniform({rows, 2}, 2);
  batch.rewards = uniform({rows}, 3);
  batch.next_states = uniform({rows, 3}, 4);
  batch.next_actions = uniform({rows, 2}, 5);
  batch.terminals = (uniform({rows}, 6) > 0.5).to(at::kDouble);
  batch.subtasks = at::arange(rows, at::kLong).remainder(4);
  return batch;
}

// numerical derivative of `loss` by every entry of `parameter`
template <typename Loss>
at::Tensor numerical(const at::Tensor& parameter, const Loss& loss) {
  const at::NoGradGuard no_grad;
  at::Tensor gradient = at::zeros_like(parameter);
  double* value = parameter.data_ptr<double>();
  for (int64_t i = 0; i < parameter.numel(); ++i) {
    const double kept = value[i];
    value[i] = kept + kStep;
    const double above = loss();
    value[i] = kept - kStep;
    const double below = loss();
    value[i] = kept;
    gradient.data_ptr<double>()[i] = (above - below) / (2 * kStep);
  }
  return gradient;
}

enum class Term { kBehaviour, kTd, kGap };

// which networks a term may reach
bool reaches(Term term, const std::string& name) {
  switch (term) {
    case Term::kBehaviour:
      return name.rfind("policy.", 0) == 0 || name.rfind("task_embedding.", 0) == 0;
    case Term::kTd:
      return name.rfind("score.", 0) == 0 || name.rfind("task_embedding.", 0) == 0;
    case Term::kGap:
      return name.rfind("score.", 0) == 0;
  }
  return false;
}

class GradientCheck : public ::testing::TestWithParam<std::tuple<Term, PolicyStd>> {};

TEST_P(GradientCheck, MatchesCentralDifferencesAndStaysWhereItMay) {
  const auto [term, policy_std] = GetParam();
  DropModel model = small_model(at::kDouble, policy_std);
  if (policy_std == PolicyStd::kLearned)
    model.parameters().view("policy.log_std").copy_(uniform({2}, 9, -0.5, 0.5));
  const Batch batch = random_batch(6);
  const StepNoise noise{uniform({6, 2}, 8), {}};
  LossSettings settings;
  settings.discount = 0.9;
  const auto select = [&, which = term](const LossTerms& terms) {
    return which == Term::kBehaviour ? terms.behaviour
           : which == Term::kTd      ? terms.td
                                     : terms.conservative_gap;
  };

  ParameterBuffer gradients = model.parameters().like();
  model.parameters().collect_gradients_in(gradients);
  torch::autograd::backward({select(drop_losses(model, batch, noise, settings))});

  // for the differences, everything a term must treat as constant is frozen beforehand
  const at::Tensor frozen_z =
      model.task_embedding().embeddings().detach().index_select(0, batch.subtasks);
  for (size_t i = 0; i < gradients.specs().size(); ++i) {
    const std::string& name = gradients.specs()[i].name;
    if (!reaches(term, name)) {
      EXPECT_EQ(gradients.views()[i].abs().max().item<double>(), 0.0)
          << name << " must not be reached";
      continue;
    }
    // the TD target is a constant: its own dependence on phi is taken out by the frozen target
    // below
    const auto loss = [&]() {
      if (term == Term::kTd) {
        const at::Tensor z = model.task_embedding().embeddings().index_select(0, batch.subtasks);
        const at::Tensor target =
            batch.rewards +
            settings.discount * (1.0 - batch.terminals) *
                model.target_score().forward(batch.next_states, batch.next_actions, frozen_z);
        return (model.score().forward(batch.states, batch.actions, z) - target)
            .pow(2)
            .mean()
            .item<double>();
      }
      return select(drop_losses(model, batch, noise, settings)).item<double>();
    };
    const at::Tensor expected = numerical(model.parameters().views()[i], loss);
    EXPECT_LT((gradients.views()[i] - expected).abs().max().item<double>(), kTolerance) << name;
    // C is a difference of scores, in which f's last bias cancels
    const bool cancels = term == Term::kGap && name == "score.score_encoder.3.bias";
    EXPECT_EQ(expected.abs().max().item<double>() < 1e-7, cancels)
        << name << ": the check would prove nothing";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Terms, GradientCheck,
    ::testing::Combine(::testing::Values(Term::kBehaviour, Term::kTd, Term::kGap),
                       ::testing::Values(PolicyStd::kFixed, PolicyStd::kLearned)));

TEST(GradientCheck, EmbeddingGradientThroughThePolicy) {
  const DropModel model = small_model();
  const EncodedStates states = model.encode(uniform({3, 3}, 11));
  at::Tensor z = uniform({3, 4, 2}, 12).set_requires_grad(true);
  const at::Tensor gradient =
      torch::autograd::grad({model.score_embeddings(states, z).sum()}, {z})[0];
  const at::Tensor plain = z.detach();
  const at::Tensor expected =
      numerical(plain, [&] { return model.score_embeddings(states, plain).sum().item<double>(); });
  EXPECT_LT((gradient - expected).abs().max().item<double>(), kTolerance);
}

TEST(GradientCheck, TdLeavesEmbeddingsAloneWhenAsked) {
  DropModel model = small_model();
  ParameterBuffer gradients = model.parameters().like();
  model.parameters().collect_gradients_in(gradients);
  LossSettings settings;
  settings.td_updates_embedding = false;
  torch::autograd::backward(
      {drop_losses(model, random_batch(6), {uniform({6, 2}, 8), {}}, settings).td});
  EXPECT_EQ(gradients.segment("task_embedding.").abs().max().item<double>(), 0.0);
  EXPECT_GT(gradients.segment("score.").abs().max().item<double>(), 0.0);
}

}  // namespace
}  // namespace drop
