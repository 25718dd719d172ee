#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "drop/config/config.h"
#include "drop/deploy/replay_buffer.h"
#include "drop/env/environment.h"
#include "drop/nn/checkpoint.h"
#include "drop/train/run_folder.h"
#include "drop/train/step_engine.h"

namespace drop {

/// How parameters are trained online (docs/algorithm.md, "Online fine-tuning").
struct OnlineOptions {
  InferenceRuleKind rule = InferenceRuleKind::kGradAda;
  int64_t ascent_steps = 100;
  double noise = 0.1;        ///< standard deviation of normal noise on the acting mean
  double improvement = 1.0;  ///< weight of the policy improvement beside the behaviour loss
  Precision precision = Precision::kFp32;
  at::Device device = at::kCPU;
  uint64_t seed = 0;
};

/// Goes on training a checkpoint in its task: whole episodes with an inference rule, each followed
/// by as many training steps as it had, half of each batch from the replay buffer and half from the
/// offline data. Losses as offline, and policy improvement through f:
///   L_improve = -improvement * mean f(s, beta(s,z), z) / mean |f|, gradient into beta alone.
class OnlineTrainer {
 public:
  /// Starts from a checkpoint of a run, or goes on from the newest checkpoint in `folder`. The
  /// run's data set is read again. Throws DataError.
  OnlineTrainer(const std::filesystem::path& start, const std::filesystem::path& folder,
                const OnlineOptions& options);
  ~OnlineTrainer();

  int64_t env_steps() const { return env_steps_; }  ///< made so far, earlier calls' included

  /// Episodes until at least so many environment steps are made in all, then a checkpoint. SIGINT
  /// or SIGTERM: saves behind the running episode, throws Interrupted. A loss that is not finite:
  /// RunError, the checkpoints stay.
  void advance(int64_t env_steps);

 private:
  void run_episode();
  void train(int64_t steps);
  void save();
  void keep_newest_buffers();

  OnlineOptions options_;
  ModelOrigin origin_;
  std::unique_ptr<RunFolder> folder_;
  Normaliser normaliser_;
  at::Tensor selftest_states_;
  std::unique_ptr<TrainState> state_;
  std::unique_ptr<Sampler> sampler_;
  std::unique_ptr<ReplayBuffer> replay_;
  std::unique_ptr<TrainedModel> acting_;
  std::unique_ptr<Environment> environment_;
  int64_t env_steps_ = 0;
  int64_t episodes_ = 0;
};

}  // namespace drop
