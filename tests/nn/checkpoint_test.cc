#include "drop/nn/checkpoint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/nn/safetensors.h"
#include "support/models.h"
#include "support/paths.h"

namespace drop {
namespace {

class CheckpointTest : public ::testing::Test {
 protected:
  CheckpointTest() : model_(testing::small_model(at::kFloat)) {
    origin_.config.model.hidden_width = 8;
    origin_.config.model.embedding_dim = 2;
    origin_.task = "hopper";
    origin_.dataset = "toy";
    origin_.dataset_sha256 = std::string(64, 'a');
    origin_.step = 42;
    origin_.reward_scale = 0.125;
    states_ = testing::uniform({4, 3}, 21, -5.0, 5.0).to(at::kFloat);
  }

  std::string path() const { return folder_.file("c.safetensors"); }
  void save() const {
    save_checkpoint(path(), origin_, model_, model_.task_embedding().embeddings(), 0.75,
                    normaliser_, states_);
  }

  // a file that is whole and well hashed, but wrong inside
  void rewrite(const std::function<void(SafetensorsFile&)>& change) const {
    SafetensorsFile file = parse_safetensors(read_file(path()), path());
    change(file);
    write_file_atomically(path(), serialise_safetensors(file));
  }
  at::Tensor& tensor_of(SafetensorsFile& file, const std::string& name) const {
    for (auto& [known, tensor] : file.tensors) {
      if (known == name) return tensor;
    }
    throw std::out_of_range(name);
  }
  std::string refusal() const {
    try {
      load_checkpoint(path(), at::kCPU);
    } catch (const DataError& error) {
      return error.what();
    }
    return "accepted";
  }

  testing::TemporaryFolder folder_;
  DropModel model_;
  ModelOrigin origin_;
  Normaliser normaliser_{{0.5f, -1.0f, 2.0f}, {1.5f, 0.5f, 3.0f}};
  at::Tensor states_;
};

TEST_F(CheckpointTest, ActsAsTheModelThatWasSaved) {
  save();
  const TrainedModel back = load_checkpoint(path(), at::kCPU);
  EXPECT_EQ(back.origin.step, 42);
  EXPECT_EQ(back.origin.task, "hopper");
  EXPECT_EQ(back.origin.reward_scale, 0.125);
  EXPECT_TRUE(back.model.parameters().flat().equal(model_.parameters().flat()));
  EXPECT_TRUE(back.model.target_parameters().flat().equal(model_.target_parameters().flat()));
  EXPECT_TRUE(back.embeddings.equal(model_.task_embedding().embeddings()));
  const at::Tensor expected =
      (states_ - at::tensor(normaliser_.mean)) / at::tensor(normaliser_.std);
  EXPECT_TRUE(at::allclose(back.standardise(states_), expected));
}

TEST_F(CheckpointTest, HoldsTheMultiplierItself) {
  save();
  SafetensorsFile file = parse_safetensors(read_file(path()), path());
  EXPECT_EQ(tensor_of(file, "multiplier.value").item<float>(), 0.75f);
}

TEST_F(CheckpointTest, ActsWithoutTheMetadataThatOnlyReportsNeed) {
  save();
  rewrite([](SafetensorsFile& f) {
    for (const char* key : {"dataset", "data_return_mean", "data_return_max", "data_length_mean"})
      f.metadata.erase(key);
  });
  const TrainedModel back = load_checkpoint(path(), at::kCPU);
  EXPECT_TRUE(std::isnan(back.origin.data_return_mean));
}

TEST_F(CheckpointTest, RefusesWrongShapesNamesVersionsAndConfigs) {
  save();
  const std::vector<std::byte> good = read_file(path());
  const struct {
    const char* expected;
    std::function<void(SafetensorsFile&)> change;
  } cases[] = {
      {"policy.state_encoder.0.weight",
       [&](SafetensorsFile& f) {
         tensor_of(f, "policy.state_encoder.0.weight") = at::zeros({8, 4});
       }},
      {"embeddings",
       [&](SafetensorsFile& f) {
         tensor_of(f, "embeddings") = at::zeros({4, 3});
       }},
      {"target_score.score_encoder.1.bias",
       [](SafetensorsFile& f) {
         std::erase_if(f.tensors, [](const auto& t) {
           return t.first == "target_score.score_encoder.1.bias";
         });
       }},
      {"task_embedding.encoder.0.weight",
       [](SafetensorsFile& f) {
         f.metadata["config"] = "model: {hidden_width: 65536, embedding_dim: 2}\n";
       }},
      {"format_version", [](SafetensorsFile& f) { f.metadata["format_version"] = "2"; }},
      {"step", [](SafetensorsFile& f) { f.metadata["step"] = "1e300"; }},
      {"step", [](SafetensorsFile& f) { f.metadata["step"] = "2.5"; }},
      {"embeddings",
       [&](SafetensorsFile& f) {
         tensor_of(f, "embeddings") = at::zeros({0, 2});
       }},
      {"normaliser.state_mean",
       [&](SafetensorsFile& f) { tensor_of(f, "normaliser.state_mean") = at::zeros({0}); }},
      // sizes that would ask for more memory than the file has bytes
      {"policy.state_encoder.0.weight",
       [&](SafetensorsFile& f) { tensor_of(f, "normaliser.state_mean") = at::zeros({100000}); }},
      {"config", [](SafetensorsFile& f) { f.metadata["config"] = "train: {discont: 0.5}\n"; }},
      {"reward_scale", [](SafetensorsFile& f) { f.metadata["reward_scale"] = "nan"; }},
      {"state_std",
       [&](SafetensorsFile& f) { tensor_of(f, "normaliser.state_std") = at::zeros({3}); }},
      {"finite",
       [&](SafetensorsFile& f) {
         tensor_of(f, "policy.state_encoder.1.bias")[0] = std::numeric_limits<float>::infinity();
       }},
  };
  for (const auto& test : cases) {
    write_file_atomically(path(), good);
    rewrite(test.change);
    EXPECT_NE(refusal().find(test.expected), std::string::npos)
        << test.expected << ": " << refusal();
    EXPECT_NE(refusal().find(path()), std::string::npos) << refusal();
    EXPECT_EQ(refusal().find('\n'), std::string::npos) << refusal();
  }
}

TEST_F(CheckpointTest, SelfTestCatchesAWeightThatHashesDoNot) {
  save();
  rewrite([&](SafetensorsFile& f) { tensor_of(f, "score.score_encoder.3.bias").add_(0.01); });
  EXPECT_NE(refusal().find("self-test"), std::string::npos) << refusal();
  save();
  rewrite([&](SafetensorsFile& f) { tensor_of(f, "selftest.actions").add_(0.01); });
  EXPECT_NE(refusal().find("self-test"), std::string::npos) << refusal();
}

TEST_F(CheckpointTest, NeverWritesWhatIsNotFinite) {
  save();
  const std::vector<std::byte> before = read_file(path());
  model_.parameters().flat()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(save(), RunError);
  EXPECT_EQ(read_file(path()), before);
}

TEST_F(CheckpointTest, MissingFileIsADataError) {
  EXPECT_NE(refusal().find(path()), std::string::npos);
}

}  // namespace
}  // namespace drop
