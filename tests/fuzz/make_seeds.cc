// Writes small checkpoints, one of each form of the networks, and a training half, for the fuzz
// targets to start from.
//
//   make_seeds FOLDER    writes FOLDER/checkpoint and FOLDER/training

#include <cstdio>
#include <exception>
#include <filesystem>

#include "drop/nn/checkpoint.h"
#include "fuzz/training_pair.h"
#include "support/models.h"
#include "support/temporary_folder.h"

namespace {

drop::ModelOrigin origin_of(const drop::ModelShape& shape) {
  drop::ModelOrigin origin;
  origin.config.model.hidden_width = shape.hidden_width;
  origin.config.model.embedding_dim = shape.embedding_dim;
  origin.config.model.latent_dim = shape.embedding_dim;
  origin.config.model.policy_std = shape.policy_std;
  origin.config.model.embedding = shape.embedding;
  origin.task = "hopper";
  origin.dataset = "seed";
  origin.dataset_sha256 = std::string(64, 'a');
  origin.step = 7;
  return origin;
}

void write_seed(const std::filesystem::path& path, drop::PolicyStd policy_std,
                drop::EmbeddingKind embedding) {
  drop::ModelShape shape;
  shape.state_dim = 2;
  shape.action_dim = 1;
  shape.num_subtasks = 2;
  shape.embedding_dim = 2;
  shape.hidden_width = 2;
  shape.policy_std = policy_std;
  shape.embedding = embedding;
  drop::DropModel model(shape, at::TensorOptions(at::kFloat));
  drop::RandomStream stream(7, "init");
  model.initialise(stream);
  drop::save_checkpoint(
      path, origin_of(shape), model, drop::testing::uniform({2, 2}, 2).to(at::kFloat), 0.5,
      {{0.5f, -1.0f}, {1.5f, 0.5f}}, drop::testing::uniform({4, 2}, 1).to(at::kFloat));
  // refused here, it would be no seed
  drop::load_checkpoint(path, at::kCPU);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  const std::filesystem::path training = std::filesystem::path(argv[1]) / "training";
  const std::filesystem::path folder = std::filesystem::path(argv[1]) / "checkpoint";
  std::filesystem::create_directories(training);
  std::filesystem::create_directories(folder);
  write_seed(folder / "table", drop::PolicyStd::kFixed, drop::EmbeddingKind::kTable);
  write_seed(folder / "learned_std", drop::PolicyStd::kLearned, drop::EmbeddingKind::kTable);
  write_seed(folder / "cvae", drop::PolicyStd::kFixed, drop::EmbeddingKind::kCvae);
  const drop::testing::TemporaryFolder elsewhere;
  drop::fuzz::TrainingPair().save(elsewhere.file("checkpoint"), training / "log_multiplier");
  drop::TrainState state = drop::fuzz::TrainingPair::fresh();
  drop::load_training_pair(elsewhere.file("checkpoint"), training / "log_multiplier", state,
                           drop::fuzz::TrainingPair::dataset_sha256());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "make_seeds: %s\n", error.what());
  return 1;
}
