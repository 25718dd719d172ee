#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "drop/deploy/evaluation.h"

namespace drop {

/// One rule over several checkpoints (and seeds): the line of a table.
struct RuleSummary {
  InferenceRuleKind rule = InferenceRuleKind::kBest;
  int64_t checkpoints = 0;
  int64_t episodes = 0;               ///< of all checkpoints together
  double mean = 0.0;                  ///< raw return, mean over all episodes
  double std = 0.0;                   ///< over all episodes
  double std_over_checkpoints = 0.0;  ///< between the checkpoints' means
  double min = 0.0;
  double max = 0.0;
  double length = 0.0;  ///< mean episode length
  std::optional<double> normalised_mean;
  std::optional<double> normalised_std;
};

/// Groups results by rule, in the order in which rules first appear.
std::vector<RuleSummary> summarise(std::span<const EvaluationResult> results);

/// The table that drop_eval prints: one line a rule with raw return, normalised score and their
/// spread, then the references and the data's own returns.
std::string format_table(std::span<const EvaluationResult> results);

/// {"results": [one object as in eval/*.json for each], "summary": [one for each rule]}
nlohmann::ordered_json to_json(std::span<const EvaluationResult> results);

}  // namespace drop
