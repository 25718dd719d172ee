#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "drop/base/files.h"
#include "drop/config/config.h"

namespace drop {

/// A run's state as written to status.json.
struct RunStatus {
  std::string state;  ///< running | finished | interrupted | failed
  int64_t step = 0;
  double steps_per_second = 0.0;
  double eta_s = 0.0;
  /// Steps of checkpoints that only a signal asked for: to be removed once a later one stands.
  std::vector<int64_t> interim_steps = {};
};

/// What a run's status.json says; nothing where there is none, or none that can be read.
std::optional<RunStatus> read_run_status(const std::filesystem::path& run);

/// A run's folder: where each file lies, and its lock.
class RunFolder {
 public:
  /// `runs/<name>/<dataset>/<variant>/seed_<s>` below the working folder.
  static std::filesystem::path default_path(const Config& config, const std::string& dataset_id,
                                            int64_t seed);

  /// True when the folder already holds a run.
  static bool holds_run(const std::filesystem::path& path);

  /// Creates the folder where needed, takes its lock and removes the temporary files that killed
  /// processes left.
  explicit RunFolder(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.yaml"; }
  std::filesystem::path provenance() const { return path_ / "provenance.json"; }
  std::filesystem::path metrics() const { return path_ / "metrics.csv"; }
  std::filesystem::path decomposition() const { return path_ / "decomposition.json"; }
  std::filesystem::path train_log() const { return path_ / "train.log"; }
  std::filesystem::path evaluations() const { return path_ / "eval"; }
  std::filesystem::path checkpoint(int64_t step) const;
  std::filesystem::path training_file(int64_t step) const;

  void write_status(const RunStatus& status) const;
  std::optional<RunStatus> read_status() const { return read_run_status(path_); }

  /// Renames the checkpoint pair of a step to `*.bad`: it stays to be looked at, but counts no
  /// more.
  void set_aside(int64_t step) const;

  /// Removes all but the newest `keep` checkpoint pairs and step 0.
  void rotate_checkpoints(int64_t keep) const;

  /// Removes the checkpoint pair of one step.
  void remove_checkpoint(int64_t step) const;

 private:
  std::filesystem::path path_;
  std::unique_ptr<FolderLock> lock_;
};

/// Steps of the checkpoints in a run's folder, ascending (files may still prove damaged).
std::vector<int64_t> checkpoint_steps(const std::filesystem::path& run);

/// `RUN/checkpoints/step_000001000.safetensors`
std::filesystem::path checkpoint_path(const std::filesystem::path& run, int64_t step);

/// `RUN/coms.safetensors`: what drop_coms leaves in place of checkpoints
std::filesystem::path coms_path(const std::filesystem::path& run);

/// What a user's path stands for: a checkpoint for itself, a run's folder for its newest `last`
/// checkpoints, oldest first; the untrained one of step 0 counts only where there is no other.
/// Throws DataError when there is none; warns when there are fewer than `last`.
std::vector<std::filesystem::path> checkpoints_at(const std::filesystem::path& path,
                                                  int64_t last = 1);

}  // namespace drop
