#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "drop/data/d4rl_file.h"
#include "drop/data/trajectory_dataset.h"

namespace drop {

/// Mean, population standard deviation and range of a list of numbers; all 0 for an empty one.
struct Spread {
  int64_t count = 0;
  double mean = 0.0;
  double std = 0.0;
  double min = 0.0;
  double max = 0.0;
};

Spread spread_of(std::span<const double> values);

/// What `drop_data inspect` tells about a data set.
struct DatasetSummary {
  static constexpr int kBins = 16;

  D4rlFileInfo file;
  std::string id;
  std::string task;  ///< empty when unknown
  Family family = Family::kOther;
  SplitRule split = SplitRule::kTerminalsOrTimeouts;
  std::string sha256;
  bool has_timeouts = false;

  int64_t trajectories = 0;
  int64_t ended_by_terminal = 0;
  int64_t ended_otherwise = 0;  ///< by timeout or, in AntMaze v0, by a position jump
  int64_t unfinished = 0;       ///< 0 or 1: the trailing piece
  int64_t unfinished_rows = 0;
  int64_t drawable_transitions = 0;  ///< of finished trajectories: rows with a next action or end

  Spread lengths;                          ///< [rows] of finished trajectories
  Spread returns;                          ///< raw returns of finished trajectories, finite ones
  std::array<int64_t, kBins> histogram{};  ///< of `returns`, equal bins from min to max

  int64_t terminal_rows = 0;
  int64_t timeout_rows = 0;
  Spread actions;                    ///< finite action values, all dimensions together
  int64_t actions_out_of_range = 0;  ///< values outside [-1, 1]
  NonFiniteRows non_finite;
};

/// @param dataset  as read with `require_finite = false`
DatasetSummary summarise(const D4rlFileInfo& file, const TrajectoryDataset& dataset,
                         const std::string& task = "");

/// For people: one fact a line, a table of arrays, a histogram.
std::string to_text(const DatasetSummary& summary);

/// The same facts as JSON.
std::string to_json(const DatasetSummary& summary);

}  // namespace drop
