#include "drop/deploy/evaluation.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>

#include "drop/base/error.h"
#include "drop/base/signals.h"
#include "drop/base/system_report.h"
#include "drop/deploy/evaluation_observer.h"
#include "drop/deploy/policy.h"

namespace drop {

namespace {

// the search's settings by their names in a config; the rule stands beside them, and the engine
// changes no more than last bits
nlohmann::ordered_json search_json(const SearchConfig& search) {
  Config config;
  config.search = search;
  constexpr std::string_view kSection = "search.";
  nlohmann::ordered_json json;
  for (const auto& [key, value] : settings_of(config)) {
    if (!key.starts_with(kSection) || key == "search.rules" || key == "search.engine") continue;
    const auto number = nlohmann::ordered_json::parse(value, nullptr, /*allow_exceptions=*/false);
    json[key.substr(kSection.size())] = number.is_number() ? number : nlohmann::ordered_json(value);
  }
  return json;
}

}  // namespace

double EvaluationResult::mean() const {
  double sum = 0.0;
  for (const EpisodeResult& episode : episodes) sum += episode.episode_return;
  return sum / static_cast<double>(episodes.size());
}

double EvaluationResult::std() const {
  const double centre = mean();
  double sum = 0.0;
  for (const EpisodeResult& episode : episodes)
    sum += (episode.episode_return - centre) * (episode.episode_return - centre);
  return std::sqrt(sum / static_cast<double>(episodes.size()));
}

std::optional<double> EvaluationResult::normalised(double episode_return) const {
  if (!reference) return std::nullopt;
  return normalised_score(episode_return, *reference);
}

double EvaluationResult::env_steps_per_second() const {
  int64_t steps = 0;
  for (const EpisodeResult& episode : episodes) steps += episode.length;
  return wall_time_s > 0 ? static_cast<double>(steps) / wall_time_s : 0.0;
}

void require_fitting_task(const TaskInfo& task, int64_t state_dim, int64_t action_dim) {
  if (task.state_dim == state_dim && task.action_dim == action_dim) return;
  throw UsageError("task " + task.name + " has " + std::to_string(task.state_dim) + " state and " +
                   std::to_string(task.action_dim) + " action dimensions, the data have " +
                   std::to_string(state_dim) + " and " + std::to_string(action_dim) +
                   "; set the `task` that the data set belongs to");
}

EvaluationResult evaluate(const TrainedModel& trained, const EvaluationOptions& options) {
  Policy policy(trained, options.search, options.rule, options.precision);
  return evaluate(trained.origin, policy, options);
}

EvaluationResult evaluate(const ModelOrigin& origin, Actor& actor,
                          const EvaluationOptions& options) {
  EvaluationResult result;
  result.task = origin.task;
  result.dataset = origin.dataset;
  result.dataset_sha256 = origin.dataset_sha256;
  result.step = origin.step;
  result.rule = options.rule;
  result.search = options.search;
  result.precision = options.precision;
  result.physics = options.environment.physics;
  result.seed = options.seed;
  result.data_return_mean = origin.data_return_mean;
  result.data_return_max = origin.data_return_max;
  result.data_length_mean = origin.data_length_mean;
  result.reference = reference_score(origin.task, origin.dataset);

  // one environment an episode, each at a start state of its own stream
  const auto stop_if_asked = [] {
    if (stop_requested()) throw Interrupted("stopped by a signal during evaluation");
  };
  stop_if_asked();
  const auto count = static_cast<size_t>(options.episodes);
  VectorEnvironment environments(origin.task, options.environment, options.episodes,
                                 options.env_threads);
  const TaskInfo& task = environments.info();
  result.max_episode_steps = task.max_episode_steps;
  require_fitting_task(task, actor.state_dim(), actor.action_dim());
  const auto state_dim = static_cast<std::ptrdiff_t>(task.state_dim);
  std::vector<double> states(count * static_cast<size_t>(state_dim));  // of running episodes
  environments.reset(static_cast<uint64_t>(options.seed), states);
  for (EvaluationObserver* observer : options.observers) observer->on_start(environments);

  // all episodes step by step together, until the last one has ended
  const auto start = std::chrono::steady_clock::now();
  actor.begin(options.episodes, static_cast<uint64_t>(options.seed), /*first=*/0);
  result.episodes.resize(count);
  std::vector<int64_t> running(count);
  std::iota(running.begin(), running.end(), int64_t{0});
  std::vector<double> next_states;
  std::vector<StepResult> outcomes;
  for (int64_t step = 0; !running.empty(); ++step) {
    stop_if_asked();
    if (options.on_step) options.on_step(step, static_cast<int64_t>(running.size()));
    const std::vector<double> actions = actor.act(running, states);
    next_states.resize(states.size());
    outcomes.resize(running.size());
    environments.step(running, actions, next_states, outcomes);
    if (!options.observers.empty()) {
      const Inference inference = actor.latest();
      const EvaluationStep seen = {step,        running,  states,   actions,
                                   next_states, outcomes, inference};
      for (EvaluationObserver* observer : options.observers) observer->on_step(seen, environments);
    }

    // those that have ended leave
    size_t left = 0;
    for (size_t k = 0; k < running.size(); ++k) {
      EpisodeResult& episode = result.episodes[static_cast<size_t>(running[k])];
      episode.episode_return += outcomes[k].reward;
      ++episode.length;
      episode.terminated = outcomes[k].terminated;
      if (outcomes[k].terminated || outcomes[k].truncated) continue;
      const auto row = next_states.begin() + static_cast<std::ptrdiff_t>(k) * state_dim;
      std::copy_n(row, state_dim, states.begin() + static_cast<std::ptrdiff_t>(left) * state_dim);
      running[left++] = running[k];
    }
    running.resize(left);
    states.resize(left * static_cast<size_t>(state_dim));
  }
  result.wall_time_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

nlohmann::ordered_json to_json(const EvaluationResult& result) {
  const auto or_null = [](const std::optional<double>& value) -> nlohmann::ordered_json {
    if (value) return *value;
    return nullptr;
  };
  nlohmann::ordered_json episodes = nlohmann::ordered_json::array();
  for (const EpisodeResult& episode : result.episodes) {
    episodes.push_back({{"return", episode.episode_return},
                        {"length", episode.length},
                        {"normalised_score", or_null(result.normalised(episode.episode_return))},
                        {"terminated", episode.terminated}});
  }
  nlohmann::ordered_json reference = nullptr;
  if (result.reference) {
    reference = {{"random", result.reference->random},
                 {"expert", result.reference->expert},
                 {"source", result.reference->source}};
  }
  const std::optional<double> mean_score = result.normalised(result.mean());
  std::optional<double> score_std;
  if (mean_score)
    score_std =
        result.std() * 100.0 / std::abs(result.reference->expert - result.reference->random);
  return {{"task", result.task},
          {"dataset", result.dataset},
          {"dataset_sha256", result.dataset_sha256},
          {"checkpoint", result.checkpoint},
          {"step", result.step},
          {"rule", to_string(result.rule)},
          {"search", search_json(result.search)},
          {"precision", to_string(result.precision)},
          {"physics", to_string(result.physics)},
          {"commit", build_commit()},
          {"seed", result.seed},
          {"episodes", episodes},
          {"mean", result.mean()},
          {"std", result.std()},
          {"normalised_score", or_null(mean_score)},
          {"normalised_score_std", or_null(score_std)},
          {"reference", reference},
          {"data_return",
           {{"mean", result.data_return_mean},
            {"max", result.data_return_max},
            {"length_mean", result.data_length_mean},
            {"normalised_mean", or_null(result.normalised(result.data_return_mean))},
            {"normalised_max", or_null(result.normalised(result.data_return_max))}}},
          {"env_steps_per_second", result.env_steps_per_second()}};
}

}  // namespace drop
