#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace drop {

/// Progress of a long job on standard error: on a terminal one line that renews itself (bar, step,
/// steps/s, ETA, note), otherwise a plain line now and then (at most one in `plain_interval_s`).
/// Silent when `quiet`. One thread at a time.
class Progress {
 public:
  /// @param already_done  where a resumed job begins, so that its rate counts only its own steps
  Progress(std::string title, int64_t total, bool quiet, double plain_interval_s = 30.0,
           int64_t already_done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// @param note  short text behind the bar, e.g. "behaviour 1.21  td 0.003"
  void update(int64_t done, const std::string& note = "");
  /// Ends the line; called by the destructor as well.
  void finish();

  /// Steps a second since the start of this object, and seconds to go at that rate.
  double rate() const;
  double eta_s() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace drop
