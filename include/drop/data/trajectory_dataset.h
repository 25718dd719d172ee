#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace drop {

/// Decides how trajectories are split and which reward shift is the default.
enum class Family { kLocomotion, kMaze2d, kAntMaze, kAdroit, kOther };

std::string to_string(Family family);

/// One trajectory: rows [begin, end) of the data set.
struct Trajectory {
  int64_t begin = 0;
  int64_t end = 0;
  double return_sum = 0.0;  ///< plain sum of raw rewards, summed in float64
  bool terminal = false;    ///< the last row is a terminal (its successor's value is masked)
  bool finished = true;     ///< false for a trailing piece without an end flag

  int64_t length() const { return end - begin; }
  /// Rows that may be sampled: all, or all but the last when that one has no next action.
  int64_t transitions() const { return terminal ? length() : length() - 1; }
};

/// Offline data in memory, columns row-major float32, plus its trajectories.
struct TrajectoryDataset {
  std::string path;    ///< file it was read from
  std::string id;      ///< D4RL id, or the file's stem
  std::string sha256;  ///< of the file
  Family family = Family::kOther;

  int64_t rows = 0;
  int64_t state_dim = 0;
  int64_t action_dim = 0;
  std::vector<float> observations;  ///< [rows, state_dim]
  std::vector<float> actions;       ///< [rows, action_dim]
  std::vector<double> rewards;      ///< [rows], raw
  std::vector<uint8_t> terminals;   ///< [rows], 0 or 1
  std::vector<uint8_t> timeouts;    ///< [rows], 0 or 1; all 0 when the file has none
  bool has_timeouts = false;

  /// In file order. The trailing unfinished one is last, with finished = false, if there is one.
  std::vector<Trajectory> trajectories;

  std::span<const float> observation(int64_t row) const {
    return {observations.data() + row * state_dim, static_cast<size_t>(state_dim)};
  }
  std::span<const float> action(int64_t row) const {
    return {actions.data() + row * action_dim, static_cast<size_t>(action_dim)};
  }

  /// Trajectories that decomposition may use (drops the unfinished one unless told to keep it).
  std::vector<Trajectory> usable_trajectories(bool keep_unfinished) const;
};

/// How the flags of a file mark ends of trajectories (D4RL facts, 0.5 and 0.11).
enum class SplitRule {
  kTerminalsOrTimeouts,   ///< locomotion, Maze2D, other: a row with both flags ends by its terminal
  kTimeouts,              ///< AntMaze v1, v2: terminals inside a trajectory only mask the bootstrap
  kPositionJumps,         ///< AntMaze v0: where (x, y) moves by more than 1 m between rows
  kTerminalsElseTimeouts  ///< Adroit: terminals; timeouts when all terminals are false or share
                          ///< their row with a timeout (files of `drop_data generate`)
};

SplitRule split_rule(Family family, const std::string& dataset_id);

/// Cuts rows into trajectories. Pure: `observations` (row-major [rows, state_dim]) is read by
/// kPositionJumps only.
std::vector<Trajectory> split_trajectories(SplitRule rule, std::span<const double> rewards,
                                           std::span<const uint8_t> terminals,
                                           std::span<const uint8_t> timeouts,
                                           std::span<const float> observations, int64_t state_dim);

/// 1 / max over trajectories of max(|discounted return of r + shift from the first step|, 1e-8):
/// the `auto` score scale (docs/algorithm.md).
double auto_reward_scale(const TrajectoryDataset& dataset, std::span<const Trajectory> trajectories,
                         double discount, double reward_shift);

}  // namespace drop
