#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "drop/deploy/evaluation.h"

namespace drop {

/// What online fine-tuning changes (paper, Appendix C.3).
enum class FinetuneLevel {
  kCheckpoint,  ///< which of the last T checkpoints acts (Algorithm 3)
  kEmbedding,   ///< that, and with how many ascent steps (Algorithm 4)
  kParametric,  ///< the parameters of beta and f
};

std::string to_string(FinetuneLevel level);
/// Throws UsageError with the allowed names.
FinetuneLevel finetune_level_from(const std::string& name);

/// One way to act that was tried in the environment, or is compared.
struct FinetuneTrial {
  std::filesystem::path checkpoint;
  int64_t step = 0;  ///< of the checkpoint
  int64_t ascent_steps = 0;
  double mean_return = 0.0;  ///< of its episodes, raw
  int64_t env_steps = 0;     ///< that they took
};

struct FinetuneOptions {
  std::filesystem::path run;
  FinetuneLevel level = FinetuneLevel::kCheckpoint;
  InferenceRuleKind rule = InferenceRuleKind::kBest;
  int64_t last = 6;                ///< T, the newest checkpoints
  int64_t max_ascent_steps = 50;   ///< K_max (embedding)
  int64_t ascent_steps_every = 1;  ///< tries this multiple of steps only (embedding)
  int64_t trial_episodes = 1;      ///< of each trial; all trials start at the same states
  int64_t episodes = 10;           ///< before and after, at start states of their own
  /// No trial begins once so many are spent; at the parametric level episodes of training are made
  /// until then (default there: 700,000, the paper's).
  std::optional<int64_t> env_steps;
  int64_t saves = 10;        ///< parametric: checkpoints on the way, each of them a trial
  double noise = 0.1;        ///< parametric: see OnlineOptions
  double improvement = 1.0;  ///< parametric: see OnlineOptions
  int64_t seed = 0;
  int64_t env_threads = 0;
  Precision precision = Precision::kFp32;
  at::Device device = at::kCPU;
  bool quiet = false;
};

/// What fine-tuning found.
struct FinetuneResult {
  FinetuneLevel level = FinetuneLevel::kCheckpoint;
  InferenceRuleKind rule = InferenceRuleKind::kBest;
  std::filesystem::path run;
  std::vector<FinetuneTrial> trials;  ///< the first is the start: newest checkpoint, config's steps
  size_t chosen = 0;                  ///< of the trials: never worse than the start in them
  EvaluationResult initial, final;    ///< the start and the choice on fresh episodes
  int64_t seed = 0;

  int64_t trained_steps = 0;  ///< environment steps of online training
  int64_t env_steps() const;  ///< spent on training and trials; the comparison is not counted
};

/// Tries and chooses; at the parametric level trains in between, from what the embedding level
/// chose with this rule, if it did, else from the newest checkpoint. Everything is kept in
/// `run`/finetune, each trial's result at once, so that a later call with the same options goes on
/// behind it. Throws Interrupted on SIGINT/SIGTERM.
FinetuneResult finetune(const FinetuneOptions& options);

/// The highest return; on ties the earliest trial, so that a change needs a gain.
size_t best_trial(const std::vector<FinetuneTrial>& trials);

nlohmann::ordered_json to_json(const FinetuneResult& result);
/// Lines for a terminal: trials, choice, before and after.
std::string format_finetune(const FinetuneResult& result);

}  // namespace drop
