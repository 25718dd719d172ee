#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "drop/config/config.h"
#include "drop/deploy/evaluation.h"
#include "drop/nn/runtime.h"
#include "drop/train/trainer.h"

namespace drop {

/// Evaluates a run's checkpoints while it trains, with the rules of `eval.rules`, and writes
/// `eval/step_000010000_<rule>.json`.
class RunEvaluator : public TrainingEvaluator {
 public:
  RunEvaluator(Config config, const RunFolder& folder, const Runtime& runtime,
               std::string dataset_id);
  MetricValues evaluate(const std::filesystem::path& checkpoint, int64_t step) override;

 private:
  struct Outcome;  // what is logged of one rule
  /// What an earlier session measured of the same weights with the same settings.
  std::optional<Outcome> recall(const std::filesystem::path& file, const std::string& key) const;
  EvaluationOptions options_of(InferenceRuleKind rule) const;
  std::filesystem::path file_of(int64_t step, InferenceRuleKind rule) const;

  Config config_;
  const RunFolder& folder_;
  Runtime runtime_;
  std::string dataset_id_;
};

}  // namespace drop
