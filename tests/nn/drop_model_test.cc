#include "drop/nn/drop_model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/models.h"

namespace drop {
namespace {

using testing::small_model;
using testing::uniform;

TEST(DropModel, ParametersHaveTheContractsNamesAndShapes) {
  const DropModel model = small_model(at::kFloat, PolicyStd::kLearned);
  const auto shape = [&](const char* name) { return model.parameters().view(name).sizes().vec(); };
  EXPECT_EQ(shape("task_embedding.encoder.0.weight"), (std::vector<int64_t>{8, 4}));
  EXPECT_EQ(shape("task_embedding.encoder.2.weight"), (std::vector<int64_t>{2, 8}));
  EXPECT_EQ(shape("policy.state_encoder.1.weight"), (std::vector<int64_t>{8, 8}));
  EXPECT_EQ(shape("policy.action_encoder.0.weight"), (std::vector<int64_t>{8, 10}));
  EXPECT_EQ(shape("policy.action_encoder.3.bias"), (std::vector<int64_t>{2}));
  EXPECT_EQ(shape("policy.log_std"), (std::vector<int64_t>{2}));
  EXPECT_EQ(shape("score.state_action_encoder.0.weight"), (std::vector<int64_t>{8, 5}));
  EXPECT_EQ(shape("score.score_encoder.3.weight"), (std::vector<int64_t>{1, 8}));
  EXPECT_EQ(model.target_parameters().view("target_score.score_encoder.0.weight").sizes().vec(),
            (std::vector<int64_t>{8, 10}));
  // 3 + 2 + 4 layers and log_std; 2 + 4 layers in f and in its copy
  EXPECT_EQ(model.parameters().specs().size(), 2u * (3 + 2 + 4 + 2 + 4) + 1);
  EXPECT_EQ(model.target_parameters().specs().size(), 12u);
}

TEST(DropModel, CvaeHasAnEncoderInPlaceOfTheTable) {
  ModelConfig config;
  config.embedding = EmbeddingKind::kCvae;
  config.hidden_width = 8;
  const ModelShape shape = ModelShape::from(config, 3, 2, 7);
  EXPECT_EQ(shape.embedding_dim, 4);  // twice the action dimension
  EXPECT_EQ(shape.embedding_bound(), 2.0);
  const DropModel model(shape, at::TensorOptions(at::kDouble));
  EXPECT_FALSE(model.parameters().contains("task_embedding.encoder.0.weight"));
  EXPECT_EQ(model.parameters().view("encoder.0.weight").sizes().vec(),
            (std::vector<int64_t>{8, 5}));
  EXPECT_EQ(model.parameters().view("encoder.2.bias").sizes().vec(), (std::vector<int64_t>{8}));
  config.encoder_inputs = {"s"};
  config.latent_dim = 3;
  const ModelShape literal = ModelShape::from(config, 3, 2, 7);
  EXPECT_EQ(literal.embedding_dim, 3);
  EXPECT_FALSE(literal.encodes_actions);
  EXPECT_EQ(DropModel(literal, at::TensorOptions(at::kDouble))
                .parameters()
                .view("encoder.0.weight")
                .size(1),
            3);
}

TEST(PosteriorEncoder, ClampsItsDeviationAndKnowsItsDivergence) {
  ModelConfig config;
  config.embedding = EmbeddingKind::kCvae;
  config.hidden_width = 8;
  config.latent_dim = 2;
  DropModel model(ModelShape::from(config, 3, 2, 4), at::TensorOptions(at::kDouble));
  model.parameters().flat().zero_();
  // the output is the last bias: means 1 and 0.5, log deviations beyond both limits
  model.parameters().view("encoder.2.bias").copy_(at::tensor({1.0, 0.5, -9.0, 99.0}));
  const auto posterior = model.posterior_encoder().forward(uniform({5, 3}, 1), uniform({5, 2}, 2));
  EXPECT_TRUE(posterior.mean.equal(at::tensor({1.0, 0.5}, at::kDouble).expand({5, 2})));
  EXPECT_TRUE(posterior.log_std.equal(at::tensor({-4.0, 15.0}, at::kDouble).expand({5, 2})));
  const auto term = [](double mean, double log_std) {
    return 0.5 * (mean * mean + std::exp(2 * log_std) - 1 - 2 * log_std);
  };
  const double expected = term(1.0, -4.0) + term(0.5, 15.0);
  EXPECT_NEAR(PosteriorEncoder::kl_divergence(posterior)[3].item<double>() / expected, 1.0, 1e-12);
  EXPECT_EQ(PosteriorEncoder::kl_divergence(
                {at::zeros({1, 2}, at::kDouble), at::zeros({1, 2}, at::kDouble)})
                .item<double>(),
            0.0);
}

TEST(DropModel, InitialisationIsUniformWithinOneOverRootFanIn) {
  ModelShape shape;
  shape.state_dim = 9;
  shape.action_dim = 7;
  shape.num_subtasks = 25;
  shape.hidden_width = 64;
  DropModel model(shape, at::TensorOptions(at::kFloat));
  RandomStream stream(1, "init");
  model.initialise(stream);
  for (size_t i = 0; i < model.parameters().specs().size(); ++i) {
    const ParameterSpec& spec = model.parameters().specs()[i];
    const at::Tensor& view = model.parameters().views()[i];
    const double bound = 1.0 / std::sqrt(static_cast<double>(spec.fan_in));
    EXPECT_LE(view.abs().max().item<double>(), bound * (1 + 1e-6)) << spec.name;
    if (view.numel() < 500) continue;
    // a uniform variable on [-b, b] has mean 0 and standard deviation b / sqrt(3)
    const double n = static_cast<double>(view.numel());
    EXPECT_NEAR(view.mean().item<double>(), 0.0, 5 * bound / std::sqrt(3 * n)) << spec.name;
    EXPECT_NEAR(view.std().item<double>(), bound / std::sqrt(3.0), 0.06 * bound) << spec.name;
  }
  EXPECT_TRUE(model.target_parameters().flat().equal(model.parameters().segment("score.")));
}

TEST(DropModel, EmbeddingsEqualTheOneHotProduct) {
  const DropModel model = small_model();
  const ParameterBuffer& p = model.parameters();
  const auto layer = [&](const at::Tensor& x, int i) {
    const std::string name = "task_embedding.encoder." + std::to_string(i);
    return at::linear(x, p.view(name + ".weight"), p.view(name + ".bias"));
  };
  const at::Tensor one_hot = at::eye(4, at::kDouble);
  const at::Tensor expected = at::tanh(layer(at::relu(layer(at::relu(layer(one_hot, 0)), 1)), 2));
  EXPECT_TRUE(at::allclose(model.task_embedding().embeddings(), expected, 1e-12, 1e-14));
}

TEST(DropModel, SharedFirstLayersEqualConcatenation) {
  const DropModel model = small_model();
  const at::Tensor states = uniform({5, 3}, 1);
  const at::Tensor z = uniform({5, 2}, 2);
  const ParameterBuffer& p = model.parameters();
  const auto layer = [&](const std::string& name, const at::Tensor& x) {
    return at::linear(x, p.view(name + ".weight"), p.view(name + ".bias"));
  };
  at::Tensor h = at::relu(layer("policy.state_encoder.0", states));
  h = at::relu(layer("policy.state_encoder.1", h));
  at::Tensor x = at::cat({h, z}, 1);
  for (int i = 0; i < 3; ++i) x = at::relu(layer("policy.action_encoder." + std::to_string(i), x));
  const at::Tensor actions = at::tanh(layer("policy.action_encoder.3", x));
  const EncodedStates encoded = model.encode(states);
  EXPECT_TRUE(at::allclose(model.act(encoded, z), actions, 1e-12, 1e-14));

  at::Tensor g = at::cat({states, actions}, 1);
  for (int i = 0; i < 2; ++i)
    g = at::relu(layer("score.state_action_encoder." + std::to_string(i), g));
  x = at::cat({g, z}, 1);
  for (int i = 0; i < 3; ++i) x = at::relu(layer("score.score_encoder." + std::to_string(i), x));
  const at::Tensor scores = layer("score.score_encoder.3", x).squeeze(-1);
  EXPECT_TRUE(at::allclose(model.score_embeddings(encoded, z.unsqueeze(1)).squeeze(1), scores,
                           1e-12, 1e-14));
  EXPECT_TRUE(at::allclose(model.score().forward(states, actions, z), scores, 1e-12, 1e-14));
}

TEST(DropModel, OneSetOfEmbeddingsServesAllStates) {
  const DropModel model = small_model();
  const EncodedStates encoded = model.encode(uniform({3, 3}, 3));
  const at::Tensor z = uniform({1, 6, 2}, 4);
  const at::Tensor shared = model.score_embeddings(encoded, z);
  ASSERT_EQ(shared.sizes(), at::IntArrayRef({3, 6}));
  EXPECT_TRUE(at::allclose(
      shared, model.score_embeddings(encoded, z.expand({3, 6, 2}).contiguous()), 1e-12, 1e-14));
}

TEST(DropModel, LikelihoodWithUnitDeviationIsHalfTheSquaredError) {
  const DropModel fixed = small_model();
  const DropModel learned = small_model(at::kDouble, PolicyStd::kLearned);
  const at::Tensor mean = uniform({4, 2}, 5);
  const at::Tensor actions = uniform({4, 2}, 6);
  const at::Tensor expected = (mean - actions).pow(2).sum(1) * 0.5;
  EXPECT_TRUE(
      at::allclose(fixed.policy().negative_log_likelihood(mean, actions), expected, 1e-12, 1e-14));
  // log std starts at 0, where both forms agree
  EXPECT_TRUE(at::allclose(learned.policy().negative_log_likelihood(mean, actions), expected, 1e-12,
                           1e-14));
  // the clamp: beyond [-5, 2] nothing changes any more
  learned.parameters().view("policy.log_std").fill_(50.0);
  EXPECT_NEAR(learned.policy().std(mean.options())[0].item<double>(), std::exp(2.0), 1e-12);
  learned.parameters().view("policy.log_std").fill_(-50.0);
  EXPECT_NEAR(learned.policy().std(mean.options())[0].item<double>(), std::exp(-5.0), 1e-12);
}

TEST(EmbeddingHealth, ClosedForm) {
  // neighbours at distances 0.1, 0.1, 0.5; one saturated coordinate of six
  const at::Tensor z = at::tensor({0.0, 0.0, 0.1, 0.0, 0.1, 0.5}, at::kDouble).view({3, 2});
  EmbeddingHealth health = embedding_health(z);
  EXPECT_NEAR(health.nearest_distance, (0.1 + 0.1 + 0.5) / 3, 1e-12);
  EXPECT_EQ(health.saturated_share, 0.0);
  z[2][1] = -0.995;
  EXPECT_NEAR(embedding_health(z).saturated_share, 1.0 / 6, 1e-12);
  EXPECT_EQ(embedding_health(at::zeros({5, 2})).nearest_distance, 0.0);
  EXPECT_EQ(embedding_health(at::zeros({1, 2})).nearest_distance, 0.0);
  EXPECT_EQ(embedding_health(at::ones({2, 2})).saturated_share, 1.0);
}

}  // namespace
}  // namespace drop
