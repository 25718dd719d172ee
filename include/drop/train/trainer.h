#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "drop/config/config.h"
#include "drop/data/normaliser.h"
#include "drop/data/sampler.h"
#include "drop/log/metrics.h"
#include "drop/nn/checkpoint.h"
#include "drop/train/run_folder.h"
#include "drop/train/step_engine.h"
#include "drop/train/training_file.h"

namespace drop {

/// Evaluation on the way, seen from training: it knows no environment.
class TrainingEvaluator {
 public:
  virtual ~TrainingEvaluator() = default;
  /// Evaluates a checkpoint and returns what to log ("eval/best/return", ...). What an earlier
  /// session left on disk of this step is not measured again. May throw Interrupted.
  virtual MetricValues evaluate(const std::filesystem::path& checkpoint, int64_t step) = 0;
};

/// What the trainer needs beside the engine and its state.
struct TrainerInputs {
  Config config;
  ModelOrigin origin;  ///< step is filled in at each save
  Normaliser normaliser;
  at::Tensor selftest_states;  ///< [4, state_dim], raw
  bool quiet = false;
  TrainingEvaluator* evaluator = nullptr;  ///< may be null: no evaluation
  /// What no score of such data can honestly exceed, in scaled units: a warning tenfold above it.
  double largest_score = std::numeric_limits<double>::infinity();
};

/// The training loop of one seed's run: steps, metrics, checkpoints, evaluations, status, signals.
class Trainer {
 public:
  /// @param folder, state, sampler, engine  must outlive the trainer
  /// @param seed_index  which of the engine's seeds this state and sampler are
  Trainer(TrainerInputs inputs, const RunFolder& folder, const TrainState& state,
          const Sampler& sampler, StepEngine& engine, size_t seed_index = 0);
  ~Trainer();

  /// Trains from the state's step to `train.steps`. Checkpoints are written at step 0, every
  /// `checkpoint.every` steps, before each evaluation and at the end. SIGINT or SIGTERM: saves and
  /// throws Interrupted. A loss that is not finite: writes `failure_step_*.json` (losses and rows
  /// of the batch) and throws RunError; the last good checkpoint stays.
  void run() { run_together({this}); }

  /// The same for all seeds of one engine, which stand at the same step and differ in nothing but
  /// their seed and folder. What stops one of them stops all.
  static void run_together(const std::vector<Trainer*>& trainers);

 private:
  struct Clock;
  void write_status(const std::string& state);
  void log_and_save_if_due();
  void save(bool interim = false);
  void remove_old_checkpoints();
  void log_metrics();
  void warn_of_explosion(const StepMetrics& metrics);
  void warn_of_collapse(const EmbeddingHealth& health);
  void warn_of_silent_encoder(double divergence);
  void check_finite();
  bool is_evaluated(int64_t step) const;
  bool is_saved_regularly(int64_t step) const;
  void evaluate_if_due();
  int64_t next_stop() const;

  TrainerInputs inputs_;
  const RunFolder& folder_;
  const TrainState& state_;
  const Sampler& sampler_;
  StepEngine& engine_;
  size_t seed_index_;
  std::vector<std::unique_ptr<MetricSink>> sinks_;
  std::unique_ptr<Clock> clock_;
  std::vector<int64_t> interim_steps_;  // of checkpoints that only a signal asked for
  bool warned_collapse_ = false;
  bool warned_explosion_ = false;
};

/// Restores the newest checkpoint pair of a run that passes all checks; newer ones that do not are
/// set aside, each with a line that --quiet does not hide. False when there is none and the run has
/// made no step yet (it starts afresh). Throws DataError when none is good, or all are gone.
/// @param config  of the run: a pair that another one trained is not good
/// @param replay  gets what the training file kept besides; may be null
bool resume_newest(const RunFolder& folder, TrainState& state, const Config& config,
                   const std::string& dataset_sha256, NamedTensors* replay = nullptr);

/// Settings that a resumed run may change: how long, how often, where; not what is learned, nor the
/// search that its checkpoints hold. Throws UsageError naming the first other difference between
/// the stored and the new config, and `cure`.
void require_resumable(const std::filesystem::path& stored_config, const Config& config,
                       const std::string& cure);

/// For a finished run, which nothing is evaluated of any more: throws UsageError where the new
/// config's section `eval` differs from the stored one.
void require_no_evaluation_left(const std::filesystem::path& stored_config, const Config& config);

}  // namespace drop
