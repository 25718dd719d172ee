// Losses, gradients and ten training steps against the independent PyTorch reference of
// tests/golden (which shares no code with the library).

#include "support/golden.h"

#include <gtest/gtest.h>

#include "train/eager_step_engine.h"
#include "train/fused_step_engine.h"

namespace drop {
namespace {

using testing::deviation;
using testing::GoldenFile;

// float32 engines differ by the order of summation (tests/golden/README.md gives 2.5e-6)
constexpr double kFloatTolerance = 1e-5;
constexpr double kDoubleTolerance = 1e-10;

struct Case {
  std::string name;
  at::ScalarType type;
  StepEngineKind engine;
};

class GoldenTraining : public ::testing::TestWithParam<Case> {
 protected:
  GoldenTraining() : golden_("golden_" + GetParam().name + ".safetensors") {}

  TrainConfig config() const {
    TrainConfig config;
    config.score = !golden_.metadata.contains("score");
    config.discount = golden_.number("discount");
    config.target_rate = golden_.number("target_rate");
    config.learning_rate = golden_.number("learning_rate");
    config.conservative = golden_.on("conservative");
    config.conservative_threshold = golden_.number("threshold_scaled");  // reward scale 1
    config.multiplier_rate = golden_.number("multiplier_rate");
    config.multiplier_initial = golden_["init.multiplier.value"].item<double>();
    config.td_updates_embedding = golden_.on("td_updates_embedding");
    const std::string& form = golden_.metadata.at("multiplier");
    config.multiplier = form == "log"         ? MultiplierForm::kLog
                        : form == "projected" ? MultiplierForm::kProjected
                                              : MultiplierForm::kHinge;
    return config;
  }

  TrainState initial_state() const {
    ModelShape shape;
    shape.state_dim = golden_["batch.states"].size(2);
    shape.action_dim = golden_["batch.actions"].size(2);
    shape.embedding_dim = golden_["batch.z_u"].size(2);
    shape.hidden_width = golden_["init.policy.state_encoder.0.weight"].size(0);
    if (cvae()) {
      shape.embedding = EmbeddingKind::kCvae;
      shape.encodes_actions = golden_.metadata.at("encoder_inputs") == "sa";
      shape.kl_weight = golden_.number("kl_weight");
    } else {
      shape.num_subtasks = golden_["init.task_embedding.encoder.0.weight"].size(1);
      shape.bounded_embedding = !golden_.metadata.contains("bounded_embedding");
    }
    shape.policy_std =
        golden_.metadata.at("policy_std") == "learned" ? PolicyStd::kLearned : PolicyStd::kFixed;
    TrainState state(shape, config(), /*reward_scale=*/1.0, /*seed=*/0,
                     at::TensorOptions(GetParam().type));
    for (ParameterBuffer* buffer : {&state.model.parameters(), &state.model.target_parameters()}) {
      for (size_t i = 0; i < buffer->specs().size(); ++i) {
        buffer->views()[i].copy_(golden_["init." + buffer->specs()[i].name]);
      }
    }
    return state;
  }

  Batch batch(int64_t t) const {
    const auto part = [&](const char* name) {
      return golden_[std::string("batch.") + name][t].to(GetParam().type);
    };
    return {part("states"),
            part("actions"),
            part("rewards"),
            part("next_states"),
            part("next_actions"),
            part("terminals"),
            golden_["batch.subtasks"][t]};
  }
  StepNoise noise(int64_t t) const {
    StepNoise noise{golden_["batch.z_u"][t].to(GetParam().type), {}};
    if (cvae()) noise.posterior = golden_["batch.noise"][t].to(GetParam().type);
    return noise;
  }
  bool cvae() const { return golden_.metadata.contains("embedding"); }

  // golden results of double precision serve both types; float32 has its own tolerance
  const at::Tensor& expected(const std::string& name) const { return golden_["f64." + name]; }
  double tolerance() const {
    return GetParam().type == at::kDouble ? kDoubleTolerance : kFloatTolerance;
  }

  template <typename Engine>
  void expect_ten_steps(Engine engine, const TrainState& state) const {
    const int64_t steps = golden_["batch.states"].size(0);
    ASSERT_EQ(steps, 10);
    const auto near = [&](double found, const at::Tensor& series, int64_t t) {
      const double scale = std::max(1e-6, series.abs().max().item<double>());
      EXPECT_NEAR(found, series[t].item<double>(), tolerance() * scale) << "step " << t;
    };
    for (int64_t t = 0; t < steps; ++t) {
      near(state.multiplier.value().item<double>(), expected("multiplier"), t);
      engine.step(batch(t), noise(t));
      const StepMetrics metrics = engine.metrics();
      if (cvae()) near(metrics.kl, expected("loss_kl"), t);
      near(metrics.behaviour, expected("loss_behaviour"), t);
      near(metrics.td, expected("loss_td"), t);
      near(metrics.conservative_gap, expected("conservative_gap"), t);
    }
    near(state.multiplier.value().item<double>(), expected("multiplier"), steps);
    for (const ParameterBuffer* buffer :
         {&state.model.parameters(), &state.model.target_parameters()}) {
      for (size_t i = 0; i < buffer->specs().size(); ++i) {
        const std::string& name = buffer->specs()[i].name;
        EXPECT_LT(deviation(buffer->views()[i], expected("final." + name)), tolerance()) << name;
      }
    }
    EXPECT_EQ(state.step, steps);
    EXPECT_FALSE(engine.first_bad_step().has_value());
  }

  GoldenFile golden_;
};

TEST_P(GoldenTraining, GradientsOfTheFirstStep) {
  TrainState state = initial_state();
  ParameterBuffer found = state.model.parameters().like();
  if (GetParam().engine == StepEngineKind::kEager) {
    EagerStepEngine engine(state, nullptr, config());
    engine.compute_gradients(batch(0), noise(0));
    found.flat().copy_(engine.gradients().flat());
  } else {
    FusedStepEngine engine(state, nullptr, config(), batch(0).states.size(0), Precision::kFp32);
    engine.compute_gradients(batch(0), noise(0));
    found.flat().copy_(engine.gradients());
  }
  for (size_t i = 0; i < found.specs().size(); ++i) {
    const std::string& name = found.specs()[i].name;
    if (!config().score && name.starts_with("score.")) {
      EXPECT_EQ(found.views()[i].abs().max().item<double>(), 0.0) << name;
      continue;
    }
    EXPECT_LT(deviation(found.views()[i], expected("grad." + name)), tolerance()) << name;
  }
}

TEST_P(GoldenTraining, LossesAndWeightsOverTenSteps) {
  TrainState state = initial_state();
  if (GetParam().engine == StepEngineKind::kEager) {
    expect_ten_steps(EagerStepEngine(state, nullptr, config()), state);
  } else {
    expect_ten_steps(
        FusedStepEngine(state, nullptr, config(), batch(0).states.size(0), Precision::kFp32),
        state);
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const char* name : {"hinge", "projected", "log", "off", "learned_std", "no_td_embedding",
                           "free", "cvae", "cvae_s", "bc"}) {
    for (const StepEngineKind engine : {StepEngineKind::kEager, StepEngineKind::kFused}) {
      cases.push_back({name, at::kDouble, engine});
      cases.push_back({name, at::kFloat, engine});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTraining, ::testing::ValuesIn(all_cases()),
                         [](const auto& info) {
                           return info.param.name + "_" + to_string(info.param.engine) +
                                  (info.param.type == at::kDouble ? "_float64" : "_float32");
                         });

}  // namespace
}  // namespace drop
