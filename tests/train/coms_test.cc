#include "drop/train/coms.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <set>

#include "drop/base/error.h"
#include "drop/base/signals.h"
#include "drop/nn/safetensors.h"
#include "support/golden.h"
#include "support/models.h"
#include "support/paths.h"
#include "train/made_data.h"

namespace drop {
namespace {

using testing::deviation;
using testing::GoldenFile;
using testing::uniform;

const BatchedMlp kPolicy = {{3, 6, 6, 2}, 0.0, true};
const BatchedMlp kScore = {{5, 8, 8, 1}, 0.3, false};

at::Tensor initial(const BatchedMlp& form, uint64_t seed) {
  RandomStream stream(seed, "init");
  return form.initial(stream).to(at::kDouble);
}

// the network written out for one of them, on linear layers
at::Tensor written_out(const BatchedMlp& form, const at::Tensor& parameters, at::Tensor x) {
  int64_t at = 0;
  for (size_t layer = 0; layer + 1 < form.sizes.size(); ++layer) {
    const int64_t in = form.sizes[layer];
    const int64_t out = form.sizes[layer + 1];
    if (layer > 0) x = at::where(x > 0, x, form.negative_slope * x);
    x = x.matmul(parameters.narrow(0, at, in * out).view({out, in}).t()) +
        parameters.narrow(0, at + in * out, out);
    at += (in + 1) * out;
  }
  EXPECT_EQ(at, parameters.numel());
  return form.tanh ? at::tanh(x) : x;
}

std::vector<int64_t> sizes_of(const std::string& text) {
  std::vector<int64_t> sizes;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) sizes.push_back(std::stoll(part));
  return sizes;
}

TEST(BatchedMlp, GivesEachRowOfParametersItsOwnNetwork) {
  for (const BatchedMlp& form : {kPolicy, kScore}) {
    const at::Tensor parameters = uniform({4, form.parameter_count()}, 1);
    const at::Tensor inputs = uniform({4, 7, form.sizes.front()}, 2, -3, 3);
    const at::Tensor outputs = form.forward(parameters, inputs);
    ASSERT_EQ(outputs.sizes(), at::IntArrayRef({4, 7, form.sizes.back()}));
    for (int64_t k = 0; k < 4; ++k)
      EXPECT_LT(deviation(outputs[k], written_out(form, parameters[k], inputs[k])), 1e-13);
  }
}

TEST(BatchedMlp, BeginsWithinTheUsualBounds) {
  RandomStream stream(0, "init");
  const at::Tensor parameters = kPolicy.initial(stream);
  EXPECT_EQ(parameters.numel(), 3 * 6 + 6 + 6 * 6 + 6 + 6 * 2 + 2);
  const double first = 1 / std::sqrt(3.0);
  const double others = 1 / std::sqrt(6.0);
  const auto largest = [&](int64_t begin, int64_t count) {
    return parameters.narrow(0, begin, count).abs().max().item<double>();
  };
  EXPECT_LE(largest(0, 24), first);
  EXPECT_GT(largest(0, 24), others);
  EXPECT_LE(largest(24, parameters.numel() - 24), others);
}

TEST(PolicyFits, TogetherAreWhatEachIsAlone) {
  const at::Tensor start = initial(kPolicy, 1);
  PolicyFits together(kPolicy, start, 3, 1e-2);
  std::vector<PolicyFits> alone;
  for (int n = 0; n < 3; ++n) alone.emplace_back(kPolicy, start, 1, 1e-2);
  for (uint64_t step = 0; step < 20; ++step) {
    const at::Tensor states = uniform({3, 9, 3}, 2 * step);
    const at::Tensor actions = uniform({3, 9, 2}, 2 * step + 1);
    const at::Tensor losses = together.step(states, actions);
    for (int64_t n = 0; n < 3; ++n) {
      const auto i = static_cast<size_t>(n);
      const at::Tensor loss = alone[i].step(states.narrow(0, n, 1), actions.narrow(0, n, 1));
      EXPECT_NEAR(losses[n].item<double>(), loss.item<double>(), 1e-13);
    }
  }
  for (size_t n = 0; n < 3; ++n) {
    const at::Tensor design = together.designs()[static_cast<int64_t>(n)];
    EXPECT_LT(deviation(design, alone[n].designs()[0]), 1e-12);
    EXPECT_GT(deviation(design, start), 1e-2);  // it moved
  }
  EXPECT_TRUE(start.equal(initial(kPolicy, 1)));  // and its start did not
}

TEST(PolicyFits, LearnLinearPoliciesEachItsOwn) {
  // actions that some policy of this form can take but for the ends of ReLU: loss 0 in the limit
  const at::Tensor matrices = uniform({2, 3, 2}, 5, -0.4, 0.4);
  PolicyFits fits({{3, 64, 64, 2}, 0.0, true}, initial({{3, 64, 64, 2}}, 2), 2, 3e-3);
  at::Tensor first;
  at::Tensor last;
  for (uint64_t step = 0; step < 300; ++step) {
    const at::Tensor states = uniform({2, 32, 3}, 100 + step);
    last = fits.step(states, states.bmm(matrices));
    if (step == 0) first = last;
  }
  EXPECT_TRUE((last < 0.01 * first).all().item<bool>()) << first << last;
  EXPECT_TRUE((last < 1e-3).all().item<bool>()) << last;
}

TEST(ColumnScaler, StandardisesAndTakesItBack) {
  at::Tensor rows = uniform({6, 4}, 3, -5, 9);
  rows.select(1, 2).fill_(7.0);  // a weight that no policy has moved
  const ColumnScaler scaler = fit_column_scaler(rows, 1e-4);
  const at::Tensor scaled = scaler.apply(rows);
  EXPECT_LT(scaled.mean(0).abs().max().item<double>(), 1e-12);
  EXPECT_NEAR(scaled.select(1, 0).square().mean().item<double>(), 1.0, 1e-3);
  EXPECT_EQ(scaled.select(1, 2).abs().max().item<double>(), 0.0);
  EXPECT_LT(deviation(scaler.undo(scaled), rows), 1e-14);
  // one row alone is its own mean
  const ColumnScaler one = fit_column_scaler(rows.narrow(0, 0, 1), 1e-4);
  EXPECT_EQ(one.apply(rows.narrow(0, 0, 1)).abs().max().item<double>(), 0.0);
}

TEST(AscendDesigns, FollowsTheGradientOfEachDesign) {
  const at::Tensor parameters = initial(kScore, 3);
  const at::Tensor designs = uniform({4, 5}, 4, -2, 2);
  const auto scores = [&](const at::Tensor& x) {
    return kScore.forward(parameters.unsqueeze(0), x.unsqueeze(0)).view({-1});
  };
  // one step of size 1 is the gradient: against central differences
  const at::Tensor gradient = ascend_designs(kScore, parameters, designs, 1, 1.0) - designs;
  constexpr double kStep = 1e-6;
  for (int64_t n = 0; n < 4; ++n) {
    for (int64_t i = 0; i < 5; ++i) {
      at::Tensor moved = designs.clone();
      moved[n][i] += kStep;
      const at::Tensor above = scores(moved);
      moved[n][i] -= 2 * kStep;
      const at::Tensor slope = (above - scores(moved)) / (2 * kStep);
      EXPECT_NEAR(gradient[n][i].item<double>(), slope[n].item<double>(), 1e-8);
    }
  }
  // many small ones climb; none stay; the given designs stay in any case
  const at::Tensor before = designs.clone();
  const at::Tensor end = ascend_designs(kScore, parameters, designs, 50, 0.05);
  EXPECT_TRUE((scores(end) > scores(designs)).all().item<bool>());
  EXPECT_TRUE(ascend_designs(kScore, parameters, designs, 0, 0.05).equal(designs));
  // the literal form: each step from where the last one led
  at::Tensor literal = designs;
  for (int step = 0; step < 50; ++step)
    literal = ascend_designs(kScore, parameters, literal, 1, 0.05);
  EXPECT_LT(deviation(end, literal), 1e-12);
  EXPECT_TRUE(designs.equal(before));
  EXPECT_FALSE(end.requires_grad());
}

class ConservativeTerm : public ::testing::Test {
 protected:
  // the terms of `steps` steps
  std::vector<ScoreFitTerms> fit(const ComsSettings& settings, int64_t steps) const {
    ScoreFit score(kScore, initial(kScore, 6), settings);
    std::vector<ScoreFitTerms> terms;
    for (int64_t step = 0; step < steps; ++step) terms.push_back(score.step(designs_, objectives_));
    EXPECT_EQ(score.alpha(), terms.back().alpha);
    return terms;
  }

  at::Tensor designs_ = uniform({6, 5}, 7, -2, 2);
  at::Tensor objectives_ = uniform({6}, 8, -2, 2);
};

TEST_F(ConservativeTerm, AlphaFollowsTheConstraint) {
  ComsSettings settings;
  settings.adversary_steps = 10;
  settings.initial_alpha = 0.5;
  // far above the limit: it rises, by rate times excess
  settings.overestimation_limit = -3.0;
  double alpha = 0.5;
  for (const ScoreFitTerms& terms : fit(settings, 5)) {
    EXPECT_NEAR(terms.alpha, alpha + 0.01 * (terms.overestimation + 3.0), 1e-12);
    EXPECT_GT(terms.alpha, alpha);
    alpha = terms.alpha;
  }
  // far below: it falls and stops at 0
  settings.overestimation_limit = 20.0;
  const std::vector<ScoreFitTerms> terms = fit(settings, 5);
  EXPECT_GT(terms[0].alpha, 0.0);
  EXPECT_LT(terms[0].alpha, 0.5);
  EXPECT_EQ(terms[4].alpha, 0.0);
}

TEST_F(ConservativeTerm, KeepsTheAscentFromOverestimating) {
  ComsSettings settings;
  settings.adversary_steps = 10;
  settings.score_learning_rate = 3e-3;
  settings.alpha_rate = 0.0;
  settings.initial_alpha = 0.0;
  const ScoreFitTerms without = fit(settings, 200).back();
  settings.initial_alpha = 1.0;
  const ScoreFitTerms with = fit(settings, 200).back();
  EXPECT_LT(with.overestimation, 0.5 * without.overestimation);
  EXPECT_LT(without.squared_error, with.squared_error);
}

class ComsGolden : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  at::Tensor given(const std::string& name) const { return golden_[name].to(GetParam()); }
  const at::Tensor& wanted(const std::string& name) const { return golden_["f64." + name]; }
  double tolerance() const { return GetParam() == at::kDouble ? 1e-10 : 1e-5; }

  GoldenFile golden_{"golden_coms.safetensors"};
};

TEST_P(ComsGolden, PoliciesAreThoseOfTheReference) {
  const BatchedMlp form = {sizes_of(golden_.metadata.at("policy_sizes")), 0.0, true};
  const at::Tensor states = given("policy.states");
  const at::Tensor actions = given("policy.actions");
  PolicyFits fits(form, given("policy.init"), states.size(1), golden_.number("learning_rate"));
  for (int64_t t = 0; t < states.size(0); ++t) {
    const at::Tensor losses = fits.step(states[t], actions[t]);
    EXPECT_LT(deviation(losses, wanted("policy.losses")[t]), tolerance()) << t;
  }
  EXPECT_LT(deviation(fits.designs(), wanted("policy.designs")), tolerance());
}

TEST_P(ComsGolden, ScoreModelAndAscentAreThoseOfTheReference) {
  ComsSettings settings;
  settings.score_learning_rate = golden_.number("score_learning_rate");
  settings.adversary_steps = static_cast<int64_t>(golden_.number("adversary_steps"));
  settings.step_size = golden_.number("step_size");
  settings.initial_alpha = golden_.number("initial_alpha");
  settings.alpha_rate = golden_.number("alpha_rate");
  settings.overestimation_limit = golden_.number("overestimation_limit");
  const BatchedMlp form = {sizes_of(golden_.metadata.at("score_sizes")),
                           golden_.number("negative_slope"), false};
  const at::Tensor designs = given("score.designs");
  const double step_size = settings.step_size * std::sqrt(static_cast<double>(designs.size(1)));
  EXPECT_LT(deviation(ascend_designs(form, given("score.init"), designs, settings.adversary_steps,
                                     step_size),
                      wanted("score.adversaries")),
            tolerance());

  ScoreFit fit(form, given("score.init"), settings);
  const at::Tensor alphas = wanted("score.alpha");
  EXPECT_EQ(fit.alpha(), alphas[0].item<double>());
  for (int64_t t = 0; t + 1 < alphas.size(0); ++t) {
    const ScoreFitTerms terms = fit.step(designs, given("score.objectives"));
    const auto near = [&](double found, const at::Tensor& value) {
      EXPECT_NEAR(found, value.item<double>(), tolerance()) << t;
    };
    near(terms.squared_error, wanted("score.squared_error")[t]);
    near(terms.overestimation, wanted("score.overestimation")[t]);
    near(terms.alpha, alphas[t + 1]);
  }
  EXPECT_LT(deviation(fit.parameters(), wanted("score.final")), tolerance());
  const auto steps = static_cast<int64_t>(golden_.number("ascent_steps"));
  EXPECT_LT(deviation(ascend_designs(form, fit.parameters(), designs, steps, step_size),
                      wanted("score.ends")),
            tolerance());
}

INSTANTIATE_TEST_SUITE_P(Types, ComsGolden, ::testing::Values(at::kDouble, at::kFloat),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST(DrawRowsOfEach, GivesEverySubtaskItsOwnRows) {
  const auto sampler = testing::made_sampler(8);
  const at::Tensor rows = draw_rows_of_each(*sampler, 3, 1, 50).view({5, 50});
  for (int64_t n = 0; n < 5; ++n) {
    const auto begin = static_cast<size_t>(sampler->offsets()[static_cast<size_t>(n)]);
    const auto end = static_cast<size_t>(sampler->offsets()[static_cast<size_t>(n) + 1]);
    const auto own = sampler->transition_rows().subspan(begin, end - begin);
    const std::set<int64_t> allowed(own.begin(), own.end());
    std::set<int64_t> drawn;
    for (int64_t i = 0; i < 50; ++i) drawn.insert(rows[n][i].item<int64_t>());
    EXPECT_GT(drawn.size(), 10u);
    for (const int64_t row : drawn) EXPECT_TRUE(allowed.contains(row)) << n << " " << row;
  }
  EXPECT_TRUE(draw_rows_of_each(*sampler, 3, 1, 50).view({5, 50}).equal(rows));
  EXPECT_FALSE(draw_rows_of_each(*sampler, 3, 2, 50).view({5, 50}).equal(rows));
  EXPECT_FALSE(draw_rows_of_each(*sampler, 4, 1, 50).view({5, 50}).equal(rows));
}

class TrainComs : public ::testing::Test {
 protected:
  TrainComs() {
    config_.model.hidden_width = 8;
    config_.train.batch_size = 8;
    config_.train.steps = 30;
    config_.train.log_every = 10;
    config_.search.ascent_steps = 5;
    settings_.policy_width = 6;
    settings_.score_steps = 20;
    settings_.adversary_steps = 5;
    for (const double value : {1.0, 4.0, 2.0, 3.0, 0.0})
      decomposition_.subtasks.push_back({.trajectories = {}, .return_mean = value});
  }
  ~TrainComs() override { clear_stop_request(); }

  ComsModel train(const ComsReporter& report = [](int64_t, const MetricValues&) {}) const {
    return train_coms(config_, settings_, *sampler_, decomposition_, report);
  }

  Config config_;
  ComsSettings settings_;
  Decomposition decomposition_;
  std::unique_ptr<Sampler> sampler_ = testing::made_sampler(8);
};

TEST_F(TrainComs, AscendsFromTheBestDesignOfTheData) {
  config_.search.ascent_steps = 0;
  const ComsModel still = train();
  EXPECT_LT(deviation(still.inferred, still.designs[1]), 1e-6);  // the return of 4
  config_.search.ascent_steps = 5;
  const ComsModel moved = train();
  EXPECT_TRUE(moved.designs.equal(still.designs));
  EXPECT_GT(deviation(moved.inferred, moved.designs[1]), 1e-5);
  const auto score = [&](const at::Tensor& design) {
    return moved.score
        .forward(moved.score_parameters.unsqueeze(0),
                 moved.design_scaler.apply(design).view({1, 1, -1}))
        .item<double>();
  };
  EXPECT_GT(score(moved.inferred), score(moved.designs[1]));
}

TEST_F(TrainComs, IsAFunctionOfTheSeedAndReportsOnTheWay) {
  std::vector<int64_t> steps;
  const ComsModel first = train([&](int64_t step, const MetricValues& values) {
    steps.push_back(step);
    EXPECT_EQ(values.front().first, step <= 30 ? "loss/behaviour" : "coms/squared_error");
  });
  ASSERT_EQ(steps.size(), 3u + 20u);
  EXPECT_EQ(std::vector<int64_t>(steps.begin(), steps.begin() + 4),
            (std::vector<int64_t>{10, 20, 30, 31}));
  const ComsModel second = train();
  EXPECT_TRUE(first.designs.equal(second.designs));
  EXPECT_TRUE(first.score_parameters.equal(second.score_parameters));
  EXPECT_TRUE(first.inferred.equal(second.inferred));
  config_.seed = 1;
  EXPECT_FALSE(train().designs.equal(first.designs));
}

TEST_F(TrainComs, RefusesToGoOnWithWhatIsNotFinite) {
  config_.train.learning_rate = 1e38;
  EXPECT_THROW(train(), RunError);
  config_.train.learning_rate = 1e-3;
  settings_.step_size = 1e30;
  EXPECT_THROW(train(), RunError);
}

TEST_F(TrainComs, StopsAtASignal) {
  install_stop_handlers();
  EXPECT_THROW(train([](int64_t step, const MetricValues&) {
                 if (step == 10) std::raise(SIGTERM);
                 EXPECT_LE(step, 10);
               }),
               Interrupted);
}

TEST_F(TrainComs, IsStoredWithAllThatActingNeeds) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("coms.safetensors");
  ComsModel model = train();
  ModelOrigin origin;
  origin.config = config_;
  origin.task = "hopper";
  const Normaliser normaliser{{1, 2, 3, 4}, {5, 6, 7, 8}};
  save_coms(path, model, origin, normaliser);
  const SafetensorsFile file = parse_safetensors(read_file(path), path);
  const int64_t size = model.policy.parameter_count();
  EXPECT_TRUE(file.tensor("inferred", {size}, at::kFloat, path).equal(model.inferred));
  EXPECT_TRUE(file.tensor("designs", {5, size}, at::kFloat, path).equal(model.designs));
  EXPECT_EQ(file.tensor("objectives", {5}, at::kFloat, path)[1].item<float>(), 4.0f);
  EXPECT_EQ(file.tensor("normaliser.state_std", {4}, at::kFloat, path)[3].item<float>(), 8.0f);
  EXPECT_EQ(file.metadata.at("policy_sizes"), "4,6,6,3");
  EXPECT_EQ(file.metadata.at("score_sizes"), std::to_string(size) + ",8,8,1");
  EXPECT_EQ(file.metadata.at("task"), "hopper");
  EXPECT_EQ(parse_config(file.metadata.at("config"), path), config_);

  // nothing broken takes its place
  model.inferred[0] = std::nan("");
  EXPECT_THROW(save_coms(path, model, origin, normaliser), RunError);
  EXPECT_NO_THROW(require_finite(parse_safetensors(read_file(path), path), path));
}

}  // namespace
}  // namespace drop
