#include "drop/deploy/evaluation_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "drop/data/dataset_id.h"
#include "drop/data/dataset_summary.h"

namespace drop {

namespace {

std::string number(double value, int decimals) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

std::string with_spread(double mean, double std, int decimals) {
  return number(mean, decimals) + " +- " + number(std, decimals);
}

std::string pad(const std::string& text, size_t width) {
  return text.size() >= width ? text : text + std::string(width - text.size(), ' ');
}

}  // namespace

std::vector<RuleSummary> summarise(std::span<const EvaluationResult> results) {
  std::vector<RuleSummary> summaries;
  for (const EvaluationResult& first : results) {
    const auto same_rule = [&](const RuleSummary& summary) { return summary.rule == first.rule; };
    if (std::any_of(summaries.begin(), summaries.end(), same_rule)) continue;
    std::vector<double> returns;  // of each episode
    std::vector<double> lengths;
    std::vector<double> means;  // of each checkpoint
    for (const EvaluationResult& result : results) {
      if (result.rule != first.rule) continue;
      means.push_back(result.mean());
      for (const EpisodeResult& episode : result.episodes) {
        returns.push_back(episode.episode_return);
        lengths.push_back(static_cast<double>(episode.length));
      }
    }
    RuleSummary summary;
    summary.rule = first.rule;
    summary.checkpoints = static_cast<int64_t>(means.size());
    summary.episodes = static_cast<int64_t>(returns.size());
    const Spread spread = spread_of(returns);
    summary.mean = spread.mean;
    summary.std = spread.std;
    summary.std_over_checkpoints = spread_of(means).std;
    summary.min = spread.min;
    summary.max = spread.max;
    summary.length = spread_of(lengths).mean;
    summary.normalised_mean = first.normalised(summary.mean);
    if (first.reference) {
      summary.normalised_std =
          100.0 * summary.std / std::abs(first.reference->expert - first.reference->random);
    }
    summaries.push_back(summary);
  }
  return summaries;
}

std::string format_table(std::span<const EvaluationResult> results) {
  const EvaluationResult& first = results.front();
  const std::vector<RuleSummary> summaries = summarise(results);
  std::string text = "task " + first.task + ", data set " + first.dataset + "\n\n";
  const size_t widths[] = {12, 22, 20, 24, 12, 10};
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string row;
    for (size_t i = 0; i < cells.size(); ++i) row += pad(cells[i], widths[i]);
    row.erase(row.find_last_not_of(' ') + 1);
    return row + "\n";
  };
  text += line({"rule", "return", "normalised", "min .. max", "length", "episodes"});
  for (const RuleSummary& summary : summaries) {
    const std::string normalised =
        summary.normalised_mean ? with_spread(*summary.normalised_mean, *summary.normalised_std, 1)
                                : "-";
    text += line({to_string(summary.rule), with_spread(summary.mean, summary.std, 1), normalised,
                  number(summary.min, 1) + " .. " + number(summary.max, 1),
                  number(summary.length, 0), std::to_string(summary.episodes)});
  }
  const auto own = [&](const char* name, double value) {
    if (std::isnan(value)) return;  // unknown
    const std::optional<double> score = first.normalised(value);
    text += line({name, number(value, 1), score ? number(*score, 1) : "-"});
  };
  for (const RuleSummary& summary : summaries) {
    if (summary.checkpoints < 2) continue;
    text += to_string(summary.rule) + ": " + number(summary.std_over_checkpoints, 1) +
            " between the means of its " + std::to_string(summary.checkpoints) + " checkpoints\n";
  }
  text += "\n";
  own("data: mean", first.data_return_mean);
  own("data: best", first.data_return_max);
  // Maze2D's trajectories are segments between random targets, shorter than an episode: say so, and
  // what their reward rate would give
  if (family_of(first.task) == Family::kMaze2d && first.data_length_mean > 0) {
    const auto episode = static_cast<double>(first.max_episode_steps);
    own("data: rate", first.data_return_mean / first.data_length_mean * episode);
    text += "  (the data's trajectories have " + number(first.data_length_mean, 0) +
            " steps on average, an episode up to " + number(episode, 0) +
            ": `rate` is their reward a step times " + number(episode, 0) + ")\n";
  }
  if (first.reference) {
    text += line(
        {"random", number(first.reference->random, 1), "0.0", "(" + first.reference->source + ")"});
    text += line({"expert", number(first.reference->expert, 1), "100.0"});
  } else {
    text += "no reference scores are known for this task: normalised scores are left out\n";
  }
  return text;
}

nlohmann::ordered_json to_json(std::span<const EvaluationResult> results) {
  nlohmann::ordered_json objects = nlohmann::ordered_json::array();
  for (const EvaluationResult& result : results) objects.push_back(to_json(result));
  nlohmann::ordered_json lines = nlohmann::ordered_json::array();
  for (const RuleSummary& summary : summarise(results)) {
    nlohmann::ordered_json entry = {{"rule", to_string(summary.rule)},
                                    {"checkpoints", summary.checkpoints},
                                    {"episodes", summary.episodes},
                                    {"mean", summary.mean},
                                    {"std", summary.std},
                                    {"std_over_checkpoints", summary.std_over_checkpoints},
                                    {"min", summary.min},
                                    {"max", summary.max},
                                    {"normalised_score", nullptr},
                                    {"normalised_score_std", nullptr}};
    if (summary.normalised_mean) {
      entry["normalised_score"] = *summary.normalised_mean;
      entry["normalised_score_std"] = *summary.normalised_std;
    }
    lines.push_back(std::move(entry));
  }
  return {{"results", objects}, {"summary", lines}};
}

}  // namespace drop
