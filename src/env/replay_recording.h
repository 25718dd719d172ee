#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "drop/data/trajectory_dataset.h"
#include "drop/env/environment.h"
#include "drop/env/replay.h"
#include "env/maze2d_layout.h"

namespace drop {

/// Consecutive rows of an array of a file.
struct RecordedRows {
  std::span<const double> values;
  size_t width = 1;
  bool is_float32 = false;  ///< in the file

  size_t count() const { return values.size() / width; }
  std::span<const double> row(size_t index) const { return values.subspan(index * width, width); }
  RecordedRows part(size_t first, size_t rows) const {
    return {values.subspan(first * width, rows * width), width, is_float32};
  }
};

/// One recorded episode. Step t goes from state t by action t to what was observed `after` it.
struct RecordedEpisode {
  std::string name;
  int64_t first_row = 0;
  size_t steps = 0;
  RecordedRows qpos, qvel, actions;  ///< [steps]
  RecordedRows observations;         ///< [steps] of these states
  RecordedRows after;                ///< [steps], or one fewer where the last has no successor
  RecordedRows next_observations;    ///< [steps] the same as an array of its own, or none
  RecordedRows rewards;              ///< [steps]
  RecordedRows reward_observations;  ///< [steps] as the file has them, repeated ones too
  std::span<const uint8_t> terminals, timeouts;  ///< [steps], or none
  RecordedRows variables;  ///< the task's: of each step, one row for all steps, or none

  /// Steps that the recorder, too, made from a state set afresh; -1 = not this one.
  std::vector<int64_t> fresh_index;                ///< [steps], or none
  RecordedRows fresh_observations, fresh_rewards;  ///< of these
};

/// What `rewards[t]` of a Maze2D file belongs to (D4RL facts, 0.7). Other tasks: the step's own.
struct RewardConvention {
  std::optional<Maze2dTask> maze;  ///< with the file's kind of reward; none: not recognised
  bool of_next = true;             ///< of the observation after the step, else of the one before
  std::string text;                ///< in words

  double reward_at(std::span<const double> observation) const {
    return maze2d_reward(*maze, {observation[0], observation[1]});
  }
};

struct RecordedTask {
  std::string dataset_id;
  Family family = Family::kOther;
  std::unique_ptr<Environment> environment;
  int64_t recorded = 0;                   ///< episodes in the file
  std::vector<RecordedEpisode> episodes;  ///< those to replay
  std::vector<bool> rounded;  ///< coordinates of (qpos, qvel) of which the file has float32 values
  RewardConvention rewards;
  std::vector<std::string> notes;
};

/// A file of either layout, in memory. The episodes point into the arrays.
struct Recording {
  std::string file;
  std::string sha256;
  std::string layout;
  std::vector<RecordedTask> tasks;
  std::deque<std::vector<double>> arrays;
  std::deque<std::vector<uint8_t>> flags;
};

/// Reads what `replay` needs; its errors are those of `replay`.
Recording read_recording(const ReplayOptions& options);

}  // namespace drop
