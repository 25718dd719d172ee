#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <string>

#include "drop/nn/checkpoint.h"
#include "drop/train/training_file.h"
#include "support/models.h"

namespace drop::fuzz {

/// A tiny checkpoint and its training half, always the same; the multiplier's logarithmic form has
/// the most to keep.
class TrainingPair {
 public:
  TrainingPair() : state_(fresh()) {
    state_.step = 7;
    ModelOrigin origin;
    origin.config.model.hidden_width = shape().hidden_width;
    origin.config.model.embedding_dim = shape().embedding_dim;
    origin.config.train = config();
    origin.task = "hopper";
    origin.dataset = "seed";
    origin.dataset_sha256 = dataset_sha256();
    origin.step = state_.step;
    checkpoint_ = serialise_checkpoint(
        "checkpoint", origin, state_.model, testing::uniform({2, 2}, 2).to(at::kFloat), 0.5,
        {{0.5f, -1.0f}, {1.5f, 0.5f}}, testing::uniform({4, 2}, 1).to(at::kFloat));
  }

  void save(const std::filesystem::path& checkpoint, const std::filesystem::path& training) const {
    save_training_pair(checkpoint, checkpoint_, training, state_,
                       {{"states", testing::uniform({3, 2}, 3).to(at::kFloat)}});
  }

  /// A state that the pair can be loaded into.
  static TrainState fresh() {
    return TrainState(shape(), config(), /*reward_scale=*/1.0, /*seed=*/7,
                      at::TensorOptions(at::kFloat));
  }
  static std::string dataset_sha256() { return std::string(64, 'a'); }

 private:
  static ModelShape shape() {
    ModelShape shape;
    shape.state_dim = 2;
    shape.action_dim = 1;
    shape.num_subtasks = 2;
    shape.embedding_dim = 2;
    shape.hidden_width = 2;
    return shape;
  }
  static TrainConfig config() {
    TrainConfig config;
    config.multiplier = MultiplierForm::kLog;
    return config;
  }

  TrainState state_;
  std::vector<std::byte> checkpoint_;
};

}  // namespace drop::fuzz
