#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace drop {

enum class Device { kAuto, kCpu, kCuda };
enum class Precision { kAuto, kFp32, kTf32, kBf16 };
enum class Physics { kD4rl, kModern };
enum class DecompositionKind { kRank, kQuantization, kRandom, kTrajectory };
enum class EmbeddingKind { kTable, kCvae };
enum class PolicyStd { kFixed, kLearned };
enum class MultiplierForm { kHinge, kProjected, kLog };
enum class StepEngineKind { kAuto, kEager, kFused, kGraph };
enum class AscentEngineKind { kAuto, kAutograd, kCpu, kCuda };
enum class StartKind { kPrior, kData };
enum class InferenceRuleKind { kBest, kGrad, kBestAda, kGradAda };

/// How the data set is cut into sub-tasks (paper, Sections 3.1 and C.2).
struct DecompositionConfig {
  DecompositionKind rule = DecompositionKind::kRank;
  int64_t num_subtasks = 100;
  int64_t trajectories_per_subtask = 5;
  bool keep_unfinished = false;

  bool operator==(const DecompositionConfig&) const = default;
};

/// Networks (paper, Figure 9 and Table 7).
struct ModelConfig {
  EmbeddingKind embedding = EmbeddingKind::kTable;
  int64_t embedding_dim = 5;
  bool bounded_embedding = true;  ///< table only
  int64_t hidden_width = 512;
  PolicyStd policy_std = PolicyStd::kFixed;
  int64_t latent_dim = 0;  ///< cvae only; 0 = twice the action dimension
  std::vector<std::string> encoder_inputs = {"s", "a"};  ///< cvae only
  double kl_weight = 1.0;                                ///< cvae only

  /// d: of the table's embeddings, or of the CVAE's latents.
  int64_t latent_size(int64_t action_dim) const {
    if (embedding == EmbeddingKind::kTable) return embedding_dim;
    return latent_dim > 0 ? latent_dim : 2 * action_dim;
  }
  bool operator==(const ModelConfig&) const = default;
};

/// Training (paper, Algorithm 1; the project's choices are argued in docs/algorithm.md).
struct TrainConfig {
  int64_t steps = 200000;
  bool score = true;  ///< false: the behaviour alone is learned (behaviour cloning), f is not
  int64_t batch_size = 1024;
  double learning_rate = 1e-3;
  double discount = 0.99;
  double target_rate = 0.005;
  bool conservative = true;
  double conservative_threshold = 2.0;  ///< in raw reward units
  MultiplierForm multiplier = MultiplierForm::kHinge;
  double multiplier_rate = 1e-3;
  std::optional<double> multiplier_initial;  ///< empty = auto: 1 (hinge, log) or 0 (projected)
  bool td_updates_embedding = true;
  int64_t subtasks_per_batch = 0;      ///< 0 = each row draws its own sub-task
  std::optional<double> reward_scale;  ///< empty = auto: 1 / largest absolute discounted return
  std::optional<double> reward_shift;  ///< empty = auto: -1 for AntMaze, else 0
  int64_t log_every = 100;
  StepEngineKind engine = StepEngineKind::kAuto;

  /// The multiplier's value before the first step.
  double initial_multiplier() const {
    return multiplier_initial.value_or(multiplier == MultiplierForm::kProjected ? 0.0 : 1.0);
  }

  bool operator==(const TrainConfig&) const = default;
};

struct CheckpointConfig {
  int64_t every = 10000;
  int64_t keep = 6;

  bool operator==(const CheckpointConfig&) const = default;
};

/// Embedding inference at deployment (paper, Section 5 and Algorithm 2).
struct SearchConfig {
  std::vector<InferenceRuleKind> rules = {InferenceRuleKind::kBest, InferenceRuleKind::kGrad,
                                          InferenceRuleKind::kBestAda, InferenceRuleKind::kGradAda};
  int64_t ascent_steps = 100;
  double ascent_step_size = 0.01;
  bool clip = true;
  bool normalise_gradient = false;
  bool keep_best_iterate = false;
  bool sample = false;
  StartKind starts = StartKind::kPrior;  ///< cvae only
  AscentEngineKind engine = AscentEngineKind::kAuto;

  bool operator==(const SearchConfig&) const = default;
};

struct EvalConfig {
  int64_t every = 50000;  ///< 0 = never, not even at the end
  int64_t episodes = 10;
  std::vector<InferenceRuleKind> rules = {InferenceRuleKind::kBest, InferenceRuleKind::kBestAda};
  int64_t seed = 0;

  bool operator==(const EvalConfig&) const = default;
};

/// Everything that a run depends on. Config flows one way: these defaults <- YAML <- `--set`.
struct Config {
  std::string name = "drop";
  std::string task;     ///< empty = follows from the data set's id
  std::string dataset;  ///< a path or a D4RL id
  int64_t seed = 0;
  std::vector<int64_t>
      seeds;  ///< several runs of one config; empty = only `seed`; else `seed` is one of them
  Device device = Device::kAuto;
  Precision precision = Precision::kAuto;
  int64_t threads = 0;  ///< 0 = all cores that the process may use
  Physics physics = Physics::kD4rl;
  DecompositionConfig decomposition;
  ModelConfig model;
  TrainConfig train;
  CheckpointConfig checkpoint;
  SearchConfig search;
  EvalConfig eval;

  bool operator==(const Config&) const = default;
};

/// Reads a YAML file and applies `overrides` ("train.steps=1e6") in order. Strict: an unknown or
/// duplicate key, a wrong type, a value out of range or not finite throws UsageError with file,
/// line, key, what was found, what is allowed and, for a name, the nearest known one. Overrides
/// beat the file and later ones beat earlier ones; `seed=S` clears `seeds`, and with `seeds` the
/// first of them becomes `seed`. A missing or unreadable file is a UsageError too.
Config load_config(const std::string& path, const std::vector<std::string>& overrides = {});

/// The same from YAML text; `source` stands for the file's name in messages.
Config parse_config(const std::string& yaml, const std::string& source,
                    const std::vector<std::string>& overrides = {});

/// The whole resolved config as YAML, each key with a one-line comment; `parse_config` reads it
/// back to an equal Config.
std::string to_yaml(const Config& config);

/// A key with its value as `to_yaml` writes it: {"train.discount", "0.99"}.
struct ConfigSetting {
  std::string key, value;

  bool operator==(const ConfigSetting&) const = default;
};

/// Every key of the config, in the order of `to_yaml`.
std::vector<ConfigSetting> settings_of(const Config& config);

/// Names as written in configs and on command lines.
std::string to_string(InferenceRuleKind rule);
std::string to_string(DecompositionKind rule);
std::string to_string(MultiplierForm form);
std::string to_string(Device device);
std::string to_string(Precision precision);
std::string to_string(Physics physics);
std::string to_string(StepEngineKind engine);
std::string to_string(AscentEngineKind engine);

/// Parse a name given on a command line; throws UsageError with the allowed names.
InferenceRuleKind inference_rule_from(const std::string& name);
Device device_from(const std::string& name);
Precision precision_from(const std::string& name);
Physics physics_from(const std::string& name);
DecompositionKind decomposition_from(const std::string& name);

/// "best,grad" -> kinds; duplicates and an empty list are usage errors.
std::vector<InferenceRuleKind> inference_rules_from(const std::string& comma_separated);

}  // namespace drop
