// Ascent end points, the z-gradient and the four rules against the independent PyTorch reference.

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "drop/search/ascent_engine.h"
#include "drop/search/embedding_search.h"
#include "support/golden.h"

namespace drop {
namespace {

using testing::deviation;
using testing::GoldenFile;

struct Case {
  at::ScalarType type;
  AscentEngineKind engine;
};

class GoldenAscent : public ::testing::TestWithParam<Case> {
 protected:
  GoldenAscent() : golden_("golden_ascent.safetensors"), trained_(make_trained()) {}

  TrainedModel make_trained() const {
    ModelShape shape;
    shape.state_dim = golden_["states"].size(1);
    shape.action_dim = golden_["param.policy.action_encoder.3.bias"].size(0);
    shape.num_subtasks = golden_["embeddings"].size(0);
    shape.embedding_dim = golden_["embeddings"].size(1);
    shape.hidden_width = golden_["param.policy.state_encoder.0.bias"].size(0);
    TrainedModel trained{{}, DropModel(shape, at::TensorOptions(GetParam().type)), {}, {}, {}};
    ParameterBuffer& parameters = trained.model.parameters();
    for (size_t i = 0; i < parameters.specs().size(); ++i) {
      parameters.views()[i].copy_(golden_["param." + parameters.specs()[i].name]);
    }
    trained.embeddings = golden_["embeddings"].to(GetParam().type);
    return trained;
  }

  SearchConfig setting(const std::string& name) const {
    SearchConfig config;
    config.engine = GetParam().engine;
    config.ascent_steps = static_cast<int64_t>(golden_.number(name + ".ascent_steps"));
    config.ascent_step_size = golden_.number(name + ".ascent_step_size");
    config.clip = golden_.on(name + ".clip");
    config.normalise_gradient = golden_.on(name + ".normalise_gradient");
    config.keep_best_iterate = golden_.on(name + ".keep_best_iterate");
    return config;
  }

  at::Tensor states() const { return golden_["states"].to(GetParam().type); }
  at::Tensor starts() const { return golden_["starts"].to(GetParam().type); }
  std::unique_ptr<AscentEngine> engine() const {
    return make_ascent_engine(GetParam().engine, Precision::kFp32, trained_.model);
  }
  double tolerance() const { return GetParam().type == at::kDouble ? 1e-10 : 1e-5; }

  GoldenFile golden_;
  TrainedModel trained_;
};

TEST_P(GoldenAscent, GradientWithRespectToTheEmbedding) {
  at::Tensor z = starts().clone().set_requires_grad(true);
  const at::Tensor scores = trained_.model.score_embeddings(trained_.model.encode(states()), z);
  const at::Tensor gradient = torch::autograd::grad({scores.sum()}, {z})[0];
  EXPECT_LT(deviation(gradient, golden_["f64.z_gradient"]), tolerance());
}

TEST_P(GoldenAscent, EndPointsAndScoresOfEachSetting) {
  const std::unique_ptr<AscentEngine> engine = this->engine();
  for (const char* name : {"plain", "normalised", "unclipped", "best_iterate", "no_steps"}) {
    const AscentResult result =
        engine->run(states(), starts(), AscentOptions::from(setting(name), 1.0));
    EXPECT_LT(deviation(result.embeddings, golden_["f64." + std::string(name) + ".ends"]),
              tolerance())
        << name;
    EXPECT_LT(deviation(result.scores, golden_["f64." + std::string(name) + ".scores"]),
              tolerance())
        << name;
  }
}

TEST_P(GoldenAscent, TheFourRules) {
  const EmbeddingSearch search(trained_, setting(golden_.metadata.at("rule_setting")));
  for (const InferenceRuleKind kind : {InferenceRuleKind::kBest, InferenceRuleKind::kGrad,
                                       InferenceRuleKind::kBestAda, InferenceRuleKind::kGradAda}) {
    const std::string name = "f64.rule." + to_string(kind) + ".";
    const Inference found = make_inference_rule(kind, search)->infer(states());
    EXPECT_TRUE(found.subtasks.equal(golden_[name + "subtask"])) << name;
    EXPECT_LT(deviation(found.embeddings, golden_[name + "embedding"]), tolerance()) << name;
    EXPECT_LT(deviation(found.scores, golden_[name + "score"]), tolerance()) << name;
    const at::Tensor actions =
        trained_.model.act(trained_.model.encode(states()), found.embeddings);
    EXPECT_LT(deviation(actions, golden_[name + "action"]), tolerance()) << name;
  }
}

TEST_P(GoldenAscent, RowsInOneBatchEqualRowsAlone) {
  const std::unique_ptr<AscentEngine> engine = this->engine();
  const AscentOptions options = AscentOptions::from(setting("plain"), 1.0);
  const AscentResult together = engine->run(states(), starts(), options);
  for (int64_t state = 0; state < states().size(0); ++state) {
    const AscentResult alone =
        engine->run(states().narrow(0, state, 1), starts().narrow(0, state, 1), options);
    EXPECT_LT(deviation(alone.embeddings[0], together.embeddings[state]), tolerance());
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenAscent,
                         ::testing::Values(Case{at::kDouble, AscentEngineKind::kAutograd},
                                           Case{at::kFloat, AscentEngineKind::kAutograd},
                                           Case{at::kDouble, AscentEngineKind::kCpu},
                                           Case{at::kFloat, AscentEngineKind::kCpu}),
                         [](const auto& info) {
                           return to_string(info.param.engine) +
                                  (info.param.type == at::kDouble ? "_float64" : "_float32");
                         });

}  // namespace
}  // namespace drop
