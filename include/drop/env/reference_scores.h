#pragma once

#include <optional>
#include <string>

namespace drop {

/// D4RL's reference returns of a task: 0 % and 100 % of the normalised score.
struct ReferenceScore {
  double random = 0.0;
  double expert = 0.0;
  std::string source;  ///< e.g. "d4rl/infos.py"
};

/// Looked up by data-set id where versions differ ("maze2d-umaze-v0" against "-v1"), else by task
/// name (then the newest version's). An empty task follows from the id. Empty when D4RL has none.
std::optional<ReferenceScore> reference_score(const std::string& task,
                                              const std::string& dataset_id = "");

/// 100 * (return - random) / (expert - random).
double normalised_score(double episode_return, const ReferenceScore& reference);

}  // namespace drop
