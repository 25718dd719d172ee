#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "drop/data/hdf5.h"
#include "drop/env/environment.h"

namespace drop::testing {

/// Largest deviations of an environment from recorded float64 trajectories.
struct Deviation {
  double whole_trajectory = 0.0;  ///< observations, actions applied one after the other
  double one_step = 0.0;          ///< observations, each step from the recorded state
  double reward = 0.0;            ///< over the whole trajectory
  double one_step_reward = 0.0;
  int64_t one_step_beyond_1e9 = 0;  ///< steps that deviate by more than 1e-9
  int64_t steps = 0;
  int64_t wrong_ends = 0;      ///< steps whose `terminated` differs
  std::vector<double> growth;  ///< observations after each step of the whole trajectory

  /// Largest over the first steps of the whole trajectory.
  double within(size_t first_steps) const {
    return *std::max_element(growth.begin(), growth.begin() + std::min(first_steps, growth.size()));
  }
};

inline double largest_difference(std::span<const double> a, std::span<const double> b) {
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference;  // NaN counts as a difference
  }
  return largest;
}

/// Compares with an episode `group` of a fidelity file: init_qpos, init_qvel, actions [T],
/// observations [T+1], `rewards_name` [T] and, unless the observations are the states (Maze2D),
/// qpos, qvel [T+1]. The last step must terminate if `terminates`, no other step may.
inline Deviation deviation_from(Environment& environment, const std::string& file,
                                const std::string& group, const std::string& rewards_name,
                                bool has_states, bool terminates) {
  const auto read = [&](const std::string& name) {
    return read_hdf5_array(file, group + "/" + name).values;
  };
  const auto state_dim = static_cast<size_t>(environment.info().state_dim);
  const auto action_dim = static_cast<size_t>(environment.info().action_dim);
  const std::vector<double> init_qpos = read("init_qpos");
  const std::vector<double> init_qvel = read("init_qvel");
  const std::vector<double> actions = read("actions");
  const std::vector<double> observations = read("observations");
  const std::vector<double> rewards = read(rewards_name);
  const size_t steps = rewards.size();

  std::vector<double> qpos(has_states ? read("qpos") : std::vector<double>());
  std::vector<double> qvel(has_states ? read("qvel") : std::vector<double>());
  if (!has_states) {
    for (size_t t = 0; t <= steps; ++t) {
      for (size_t i = 0; i < 2; ++i) qpos.push_back(observations[t * 4 + i]);
      for (size_t i = 2; i < 4; ++i) qvel.push_back(observations[t * 4 + i]);
    }
  }
  const auto ends_wrongly = [&](bool terminated, size_t t) {
    return terminated != (terminates && t + 1 == steps);
  };
  const auto row = [](const std::vector<double>& values, size_t t, size_t width) {
    return std::span<const double>(values).subspan(t * width, width);
  };

  // the whole trajectory
  Deviation found;
  std::vector<double> observation(state_dim);
  environment.set_state(init_qpos, init_qvel, observation);
  found.whole_trajectory = largest_difference(observation, row(observations, 0, state_dim));
  for (size_t t = 0; t < steps; ++t) {
    const StepResult result = environment.step(row(actions, t, action_dim), observation);
    found.growth.push_back(largest_difference(observation, row(observations, t + 1, state_dim)));
    found.whole_trajectory = std::max(found.whole_trajectory, found.growth.back());
    found.reward = std::max(found.reward, std::abs(result.reward - rewards[t]));
    found.wrong_ends += ends_wrongly(result.terminated, t);
    ++found.steps;
    if (result.terminated) break;
  }

  // one step at a time
  for (size_t t = 0; t < static_cast<size_t>(found.steps); ++t) {
    environment.set_state(row(qpos, t, init_qpos.size()), row(qvel, t, init_qvel.size()),
                          observation);
    const StepResult result = environment.step(row(actions, t, action_dim), observation);
    const double deviation = largest_difference(observation, row(observations, t + 1, state_dim));
    found.one_step = std::max(found.one_step, deviation);
    found.one_step_beyond_1e9 += !(deviation <= 1e-9);
    found.one_step_reward = std::max(found.one_step_reward, std::abs(result.reward - rewards[t]));
    found.wrong_ends += ends_wrongly(result.terminated, t);
  }
  return found;
}

/// Mean and spread of the returns of some episodes.
struct ReturnStatistics {
  double mean = 0.0;
  double deviation = 0.0;
  int episodes = 0;

  double standard_error() const { return deviation / std::sqrt(episodes); }
  /// Standard error of the difference to the mean of another sample of this many episodes.
  double standard_error_against(int others) const {
    return deviation * std::sqrt(1.0 / episodes + 1.0 / others);
  }
};

/// @param act    fills an action from an observation
/// @param begin  called before each episode
template <typename Act>
ReturnStatistics return_statistics(
    Environment& environment, RandomStream& rng, int episodes, Act act,
    const std::function<void()>& begin = [] {}) {
  std::vector<double> observation(static_cast<size_t>(environment.info().state_dim));
  std::vector<double> action(static_cast<size_t>(environment.info().action_dim));
  double sum = 0.0;
  double squares = 0.0;
  for (int episode = 0; episode < episodes; ++episode) {
    begin();
    environment.reset(rng, observation);
    double episode_return = 0.0;
    for (bool over = false; !over;) {
      act(observation, action);
      const StepResult result = environment.step(action, observation);
      episode_return += result.reward;
      over = result.terminated || result.truncated;
    }
    sum += episode_return;
    squares += episode_return * episode_return;
  }
  const double mean = sum / episodes;
  return {mean, std::sqrt(squares / episodes - mean * mean), episodes};
}

}  // namespace drop::testing
