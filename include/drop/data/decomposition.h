#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "drop/config/config.h"

namespace drop {

/// One sub-task n of the decomposition.
struct Subtask {
  std::vector<int64_t> trajectories;  ///< indices into the list that was decomposed
  double return_mean = 0.0;
  double return_min = 0.0;
  double return_max = 0.0;
  int64_t transitions = 0;  ///< drawable ones, always positive
};

/// D = union of D_n (paper, Section 3.1).
struct Decomposition {
  DecompositionKind rule = DecompositionKind::kRank;
  std::vector<Subtask> subtasks;
  std::vector<std::string> warnings;     ///< one line each: fewer sub-tasks than asked for, ...
  int64_t requested_subtasks = 0;        ///< N as asked for
  int64_t trajectories_per_subtask = 0;  ///< M as asked for
  uint64_t seed = 0;

  int64_t num_subtasks() const { return static_cast<int64_t>(subtasks.size()); }
};

/// A way to cut a data set into sub-tasks: a pure function of (returns, N, M, seed).
class DecompositionRule {
 public:
  virtual ~DecompositionRule() = default;
  virtual DecompositionKind kind() const = 0;
  /// Groups of trajectory indices, at most `max_trajectories` each; empty groups are allowed and
  /// dropped by `decompose`.
  virtual std::vector<std::vector<int64_t>> group(std::span<const double> returns,
                                                  int64_t num_subtasks, int64_t max_trajectories,
                                                  uint64_t seed) const = 0;
};

/// The rules of the paper (Section C.2): Rank, Quantization, Random, and one sub-task for each
/// trajectory.
std::unique_ptr<DecompositionRule> make_decomposition_rule(DecompositionKind kind);

/// Applies a rule and drops, with a warning, sub-tasks that are empty or have no drawable
/// transition; later ones are renumbered.
/// @param returns      [T] undiscounted return of each trajectory
/// @param transitions  [T] drawable transitions of each trajectory
/// Throws DataError when nothing is left.
Decomposition decompose(const DecompositionConfig& config, std::span<const double> returns,
                        std::span<const int64_t> transitions, uint64_t seed);

/// decomposition.json: rule, N, M and, for each sub-task, trajectories, return mean/min/max,
/// transitions.
std::string to_json(const Decomposition& decomposition);

}  // namespace drop
