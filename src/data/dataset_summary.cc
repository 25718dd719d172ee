#include "drop/data/dataset_summary.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "data/hdf5_io.h"
#include "drop/base/json.h"
#include "drop/base/text.h"

namespace drop {

namespace {

std::string number(double value, const char* format = "%.6g") {
  char text[40];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string split_text(SplitRule rule) {
  switch (rule) {
    case SplitRule::kTerminalsOrTimeouts:
      return "terminals or timeouts";
    case SplitRule::kTimeouts:
      return "timeouts";
    case SplitRule::kPositionJumps:
      return "position jumps of more than 1 m";
    case SplitRule::kTerminalsElseTimeouts:
      break;
  }
  return "terminals, or timeouts if no terminal is set";
}

std::string spread_text(const Spread& spread) {
  if (spread.count == 0) return "none";
  return "mean " + number(spread.mean) + ", std " + number(spread.std) + ", min " +
         number(spread.min) + ", max " + number(spread.max);
}

nlohmann::ordered_json spread_json(const Spread& spread) {
  return {{"count", spread.count},
          {"mean", spread.mean},
          {"std", spread.std},
          {"min", spread.min},
          {"max", spread.max}};
}

double bin_edge(const Spread& returns, int bin) {
  return returns.min + (returns.max - returns.min) * bin / DatasetSummary::kBins;
}

std::string fact(const std::string& name, const std::string& value) {
  return name + std::string(name.size() < 14 ? 14 - name.size() : 1, ' ') + value + "\n";
}

}  // namespace

Spread spread_of(std::span<const double> values) {
  Spread spread;
  if (values.empty()) return spread;
  spread.count = static_cast<int64_t>(values.size());
  spread.min = *std::min_element(values.begin(), values.end());
  spread.max = *std::max_element(values.begin(), values.end());
  for (const double value : values) spread.mean += value;
  spread.mean /= static_cast<double>(values.size());
  double square = 0.0;
  for (const double value : values) square += (value - spread.mean) * (value - spread.mean);
  spread.std = std::sqrt(square / static_cast<double>(values.size()));
  return spread;
}

DatasetSummary summarise(const D4rlFileInfo& file, const TrajectoryDataset& dataset,
                         const std::string& task) {
  DatasetSummary summary;
  summary.file = file;
  summary.id = dataset.id;
  summary.task = task;
  summary.family = dataset.family;
  summary.split = split_rule(dataset.family, dataset.id);
  summary.sha256 = dataset.sha256;
  summary.has_timeouts = dataset.has_timeouts;

  // trajectories: how they end, how long they are, what they return
  std::vector<double> lengths, returns;
  for (const Trajectory& trajectory : dataset.trajectories) {
    ++summary.trajectories;
    if (!trajectory.finished) {
      ++summary.unfinished;
      summary.unfinished_rows += trajectory.length();
      continue;
    }
    ++(trajectory.terminal ? summary.ended_by_terminal : summary.ended_otherwise);
    summary.drawable_transitions += trajectory.transitions();
    lengths.push_back(static_cast<double>(trajectory.length()));
    if (std::isfinite(trajectory.return_sum)) returns.push_back(trajectory.return_sum);
  }
  summary.lengths = spread_of(lengths);
  summary.returns = spread_of(returns);
  const double range = summary.returns.max - summary.returns.min;
  for (const double value : returns) {
    const double place =
        range > 0.0 ? (value - summary.returns.min) / range * DatasetSummary::kBins : 0.0;
    ++summary.histogram[std::min<size_t>(static_cast<size_t>(place), DatasetSummary::kBins - 1)];
  }

  // rows: flags, actions, values that are no numbers
  const auto set = [](const std::vector<uint8_t>& flags) {
    return static_cast<int64_t>(flags.size()) - std::count(flags.begin(), flags.end(), 0);
  };
  summary.terminal_rows = set(dataset.terminals);
  summary.timeout_rows = set(dataset.timeouts);
  std::vector<double> actions;
  actions.reserve(dataset.actions.size());
  for (const float value : dataset.actions) {
    if (!std::isfinite(value)) continue;
    actions.push_back(value);
    if (value < -1.0F || value > 1.0F) ++summary.actions_out_of_range;
  }
  summary.actions = spread_of(actions);
  summary.non_finite = find_non_finite_rows(dataset);
  return summary;
}

std::string to_text(const DatasetSummary& summary) {
  const auto count = [](int64_t value) { return std::to_string(value); };
  const D4rlFileInfo& file = summary.file;
  std::string text;
  text += fact("file", file.path);
  text += fact("size", human_bytes(static_cast<double>(file.file_bytes)) + " (" +
                           count(file.file_bytes) + " bytes)");
  text += fact("sha256", summary.sha256);
  text += fact("data set", summary.id + ", family " + to_string(summary.family) +
                               (summary.task.empty() ? "" : ", task " + summary.task));
  text += fact("rows", count(file.rows) + ", state " + count(file.state_dim) + ", action " +
                           count(file.action_dim));
  text += fact("memory", human_bytes(static_cast<double>(file.memory_bytes)) + " when read");

  // every array of the file
  size_t name_width = 0, shape_width = 0;
  for (const ArrayInfo& array : file.arrays) {
    name_width = std::max(name_width, array.name.size());
    shape_width = std::max(shape_width, shape_text(array.shape).size());
  }
  text += "arrays\n";
  for (const ArrayInfo& array : file.arrays) {
    const std::string shape = shape_text(array.shape);
    text += "  " + array.name + std::string(name_width - array.name.size() + 2, ' ') + shape +
            std::string(shape_width - shape.size() + 2, ' ') + array.type + "\n";
  }

  text +=
      fact("trajectories", count(summary.trajectories) + ": " + count(summary.ended_by_terminal) +
                               " end by terminal, " + count(summary.ended_otherwise) +
                               " by time limit or reset, " + count(summary.unfinished) +
                               " unfinished (" + count(summary.unfinished_rows) + " rows)");
  text += fact("split by", split_text(summary.split));
  text += fact("flags", "terminals set in " + count(summary.terminal_rows) + " rows, timeouts " +
                            (summary.has_timeouts ? "in " + count(summary.timeout_rows) + " rows"
                                                  : std::string("not in the file")));
  text += fact("transitions",
               count(summary.drawable_transitions) + " drawable (with a next action, or terminal)");
  text += fact("length", spread_text(summary.lengths));
  text += fact("return", spread_text(summary.returns) + " (finished trajectories, raw rewards)");

  // histogram of returns, the longest bar 40 characters
  const int64_t most = *std::max_element(summary.histogram.begin(), summary.histogram.end());
  for (int bin = 0; most > 0 && bin < DatasetSummary::kBins; ++bin) {
    const int64_t members = summary.histogram[static_cast<size_t>(bin)];
    const auto bar = static_cast<size_t>((40 * members + most - 1) / most);
    text += "  " + number(bin_edge(summary.returns, bin), "%10.2f") + " .. " +
            number(bin_edge(summary.returns, bin + 1), "%10.2f") + "  " + std::string(bar, '#') +
            " " + count(members) + "\n";
  }

  text += fact("actions", spread_text(summary.actions) + "; " +
                              count(summary.actions_out_of_range) + " values outside [-1, 1]");
  text += fact("not finite", summary.non_finite.count == 0
                                 ? "none"
                                 : count(summary.non_finite.count) + " rows, the first of them:");
  for (const NonFiniteRow& bad : summary.non_finite.first) {
    text += "  " + bad.key + " row " + count(bad.row) + ": " + number(bad.value) + "\n";
  }
  return text;
}

std::string to_json(const DatasetSummary& summary) {
  nlohmann::ordered_json json;
  json["file"] = summary.file.path;
  json["bytes"] = summary.file.file_bytes;
  json["sha256"] = summary.sha256;
  json["dataset"] = summary.id;
  json["task"] = summary.task;
  json["family"] = to_string(summary.family);
  json["rows"] = summary.file.rows;
  json["state_dim"] = summary.file.state_dim;
  json["action_dim"] = summary.file.action_dim;
  json["memory_bytes"] = summary.file.memory_bytes;
  json["arrays"] = nlohmann::ordered_json::array();
  for (const ArrayInfo& array : summary.file.arrays) {
    json["arrays"].push_back({{"name", array.name}, {"shape", array.shape}, {"type", array.type}});
  }
  json["trajectories"] = {{"count", summary.trajectories},
                          {"ended_by_terminal", summary.ended_by_terminal},
                          {"ended_otherwise", summary.ended_otherwise},
                          {"unfinished", summary.unfinished},
                          {"unfinished_rows", summary.unfinished_rows},
                          {"split_by", split_text(summary.split)}};
  json["terminals"] = summary.terminal_rows;
  json["timeouts"] = summary.timeout_rows;
  json["has_timeouts"] = summary.has_timeouts;
  json["drawable_transitions"] = summary.drawable_transitions;
  json["length"] = spread_json(summary.lengths);
  json["return"] = spread_json(summary.returns);
  json["return_histogram"] = summary.histogram;
  json["action"] = spread_json(summary.actions);
  json["actions_out_of_range"] = summary.actions_out_of_range;
  json["non_finite_rows"] = summary.non_finite.count;
  json["non_finite_first"] = nlohmann::ordered_json::array();
  for (const NonFiniteRow& bad : summary.non_finite.first) {
    json["non_finite_first"].push_back(
        {{"key", bad.key}, {"row", bad.row}, {"value", number(bad.value)}});
  }
  return json_text(json);
}

}  // namespace drop
