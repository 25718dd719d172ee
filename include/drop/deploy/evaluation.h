#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "drop/env/environment.h"
#include "drop/env/reference_scores.h"
#include "drop/nn/checkpoint.h"

namespace drop {

class Actor;
class EvaluationObserver;

struct EpisodeResult {
  double episode_return = 0.0;  ///< raw, undiscounted
  int64_t length = 0;
  bool terminated = false;  ///< by the task, not by the time limit
};

/// One rule on one checkpoint: what eval/*.json holds.
struct EvaluationResult {
  std::string task;
  std::string dataset;
  std::string dataset_sha256;
  std::string checkpoint;
  int64_t step = 0;
  InferenceRuleKind rule = InferenceRuleKind::kBest;
  SearchConfig search;                     ///< what `rule` searched by
  Precision precision = Precision::kFp32;  ///< of the ascents' products
  Physics physics = Physics::kD4rl;
  int64_t seed = 0;
  std::vector<EpisodeResult> episodes;
  std::optional<ReferenceScore> reference;
  double data_return_mean = 0.0;
  double data_return_max = 0.0;
  double data_length_mean = 0.0;  ///< steps of the data's trajectories, on average
  int64_t max_episode_steps = 0;
  double wall_time_s = 0.0;

  double mean() const;
  /// Population standard deviation over episodes.
  double std() const;
  /// Normalised score of a return (0 = random, 100 = expert); empty without references.
  std::optional<double> normalised(double episode_return) const;
  double env_steps_per_second() const;
};

struct EvaluationOptions {
  SearchConfig search;
  InferenceRuleKind rule = InferenceRuleKind::kBest;
  Precision precision = Precision::kFp32;  ///< of the ascents' products
  int64_t episodes = 10;
  int64_t seed = 0;
  EnvironmentOptions environment;
  int64_t env_threads = 0;  ///< threads of the environments, 0 = all cores; changes no result
  std::vector<EvaluationObserver*> observers;  ///< look on, in this order; change no result
  /// Called now and then with the steps that all episodes have made; may be empty.
  std::function<void(int64_t episode_step, int64_t episodes_running)> on_step;
};

/// Throws UsageError when a task's sizes are not those that a model is trained on.
void require_fitting_task(const TaskInfo& task, int64_t state_dim, int64_t action_dim);

/// Runs all episodes in lockstep: one environment each, one search for all their states at once.
/// Episode i starts from the stream (seed, "env", i), whatever the rule, so rules are compared on
/// the same start states. The network sees the episodes that still run as one batch, and its last
/// bits may depend on that batch's size, so that another number of episodes is another evaluation.
/// Throws Interrupted on SIGINT/SIGTERM, UsageError for an unknown task.
EvaluationResult evaluate(const TrainedModel& trained, const EvaluationOptions& options);

/// The same for any actor; of the options' search, only the rule's name is taken.
EvaluationResult evaluate(const ModelOrigin& origin, Actor& actor,
                          const EvaluationOptions& options);

/// One result as the JSON object of eval/*.json.
nlohmann::ordered_json to_json(const EvaluationResult& result);

}  // namespace drop
