#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace drop {

/// One row of measurements: names such as "loss/behaviour" or "eval/best/return" with their values.
using MetricValues = std::vector<std::pair<std::string, double>>;

/// Where measurements go.
class MetricSink {
 public:
  virtual ~MetricSink() = default;
  /// @param step         training step that the values belong to
  /// @param wall_time_s  seconds since training began, earlier sessions of a resumed run included
  virtual void write(int64_t step, double wall_time_s, const MetricValues& values) = 0;
  /// Makes everything written so far safe against the end of the process.
  virtual void flush() = 0;
};

/// `metrics.csv` in long form: step,wall_time_s,name,value. When the file exists, rows of later
/// steps than `resume_step` are dropped first (a killed run may have logged beyond its last
/// checkpoint), a torn last line as well, and the rest is kept; what is written again of
/// `resume_step` itself, with the same value, stays one row. Values are written with the fewest
/// digits that read back as the same double, NaN and infinities as nan, inf, -inf. Throws RunError
/// when it cannot be written, DataError when the file that exists is no metrics file.
std::unique_ptr<MetricSink> make_csv_sink(const std::filesystem::path& file, int64_t resume_step);

/// TensorBoard event file `events.out.tfevents.*` in `folder`. On resume a session-start event
/// makes TensorBoard drop what an earlier session logged beyond `resume_step`. Times are those of
/// the clock, values float32. `folder` must exist; RunError when it cannot be written.
std::unique_ptr<MetricSink> make_tensorboard_sink(const std::filesystem::path& folder,
                                                  int64_t resume_step);

}  // namespace drop
