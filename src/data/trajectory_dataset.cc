#include "drop/data/trajectory_dataset.h"

#include <algorithm>
#include <cmath>

#include "drop/base/error.h"

namespace drop {

namespace {

constexpr double kJumpMetres = 1.0;
constexpr double kSmallestReturn = 1e-8;

// some terminal without a timeout in the same row
bool has_terminal_alone(std::span<const uint8_t> terminals, std::span<const uint8_t> timeouts) {
  for (size_t row = 0; row < terminals.size(); ++row) {
    if (terminals[row] != 0 && timeouts[row] == 0) return true;
  }
  return false;
}

// distance between the (x, y) of a row and of the next one
double step_length(std::span<const float> observations, int64_t state_dim, int64_t row) {
  const float* here = observations.data() + row * state_dim;
  const float* next = here + state_dim;
  return std::hypot(static_cast<double>(next[0]) - here[0], static_cast<double>(next[1]) - here[1]);
}

}  // namespace

std::string to_string(Family family) {
  switch (family) {
    case Family::kLocomotion:
      return "locomotion";
    case Family::kMaze2d:
      return "maze2d";
    case Family::kAntMaze:
      return "antmaze";
    case Family::kAdroit:
      return "adroit";
    case Family::kOther:
      break;
  }
  return "other";
}

std::vector<Trajectory> TrajectoryDataset::usable_trajectories(bool keep_unfinished) const {
  std::vector<Trajectory> usable;
  for (const Trajectory& trajectory : trajectories) {
    if (trajectory.finished || keep_unfinished) usable.push_back(trajectory);
  }
  return usable;
}

SplitRule split_rule(Family family, const std::string& dataset_id) {
  switch (family) {
    case Family::kAntMaze:
      return dataset_id.ends_with("-v0") ? SplitRule::kPositionJumps : SplitRule::kTimeouts;
    case Family::kAdroit:
      return SplitRule::kTerminalsElseTimeouts;
    default:
      return SplitRule::kTerminalsOrTimeouts;
  }
}

std::vector<Trajectory> split_trajectories(SplitRule rule, std::span<const double> rewards,
                                           std::span<const uint8_t> terminals,
                                           std::span<const uint8_t> timeouts,
                                           std::span<const float> observations, int64_t state_dim) {
  const auto rows = static_cast<int64_t>(rewards.size());
  if (terminals.size() != rewards.size() || timeouts.size() != rewards.size()) {
    throw RunError("trajectories cannot be split: " + std::to_string(rewards.size()) +
                   " rewards, " + std::to_string(terminals.size()) + " terminals and " +
                   std::to_string(timeouts.size()) + " timeouts; all need the same length");
  }
  if (rule == SplitRule::kPositionJumps &&
      (state_dim < 2 || static_cast<int64_t>(observations.size()) != rows * state_dim)) {
    throw DataError("trajectories cannot be split by position jumps: observations hold " +
                    std::to_string(state_dim) + " columns and " +
                    std::to_string(observations.size()) +
                    " numbers; x and y are needed for each of " + std::to_string(rows) +
                    " rows; is this an AntMaze v0 file?");
  }

  // where the rule sees an end
  const bool use_terminals =
      rule == SplitRule::kTerminalsElseTimeouts && has_terminal_alone(terminals, timeouts);
  const auto ends = [&](int64_t row) -> bool {
    const bool terminal = terminals[static_cast<size_t>(row)] != 0;
    const bool timeout = timeouts[static_cast<size_t>(row)] != 0;
    switch (rule) {
      case SplitRule::kTerminalsOrTimeouts:
        return terminal || timeout;
      case SplitRule::kTimeouts:
        return timeout;
      case SplitRule::kPositionJumps:
        return row + 1 < rows && step_length(observations, state_dim, row) > kJumpMetres;
      case SplitRule::kTerminalsElseTimeouts:
        return use_terminals ? terminal : timeout;
    }
    return false;
  };

  std::vector<Trajectory> trajectories;
  Trajectory current;
  for (int64_t row = 0; row < rows; ++row) {
    current.return_sum += rewards[static_cast<size_t>(row)];
    const bool end = ends(row);
    if (!end && row + 1 < rows) continue;
    current.end = row + 1;
    current.terminal = terminals[static_cast<size_t>(row)] != 0;
    current.finished = end;
    trajectories.push_back(current);
    current = {};
    current.begin = row + 1;
  }
  return trajectories;
}

double auto_reward_scale(const TrajectoryDataset& dataset, std::span<const Trajectory> trajectories,
                         double discount, double reward_shift) {
  double largest = kSmallestReturn;
  for (const Trajectory& trajectory : trajectories) {
    // backwards: G_t = r_t + shift + discount * G_{t+1}
    double discounted = 0.0;
    for (int64_t row = trajectory.end; row-- > trajectory.begin;) {
      discounted = dataset.rewards[static_cast<size_t>(row)] + reward_shift + discount * discounted;
    }
    largest = std::max(largest, std::abs(discounted));
  }
  return 1.0 / largest;
}

}  // namespace drop
