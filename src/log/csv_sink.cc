#include <spdlog/spdlog.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/text.h"
#include "drop/log/logging.h"
#include "drop/log/metrics.h"
#include "log/append_file.h"

namespace drop {

namespace {

constexpr std::string_view kHeader = "step,wall_time_s,name,value";

bool is_number(std::string_view text) {
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

// the step of a whole row, or nothing for a line that is none
std::optional<int64_t> step_of(std::string_view row) {
  std::string_view fields[4];
  for (size_t i = 0; i < 4; ++i) {
    const size_t end = i < 3 ? row.find(',') : row.size();
    if (end == std::string_view::npos) return std::nullopt;
    fields[i] = row.substr(0, end);
    row.remove_prefix(i < 3 ? end + 1 : end);
  }
  int64_t step = 0;
  const auto result = std::from_chars(fields[0].data(), fields[0].data() + fields[0].size(), step);
  const bool whole = result.ec == std::errc() &&
                     result.ptr == fields[0].data() + fields[0].size() && is_number(fields[1]) &&
                     !fields[2].empty() && is_number(fields[3]);
  return whole ? std::optional<int64_t>(step) : std::nullopt;
}

// what a row says beside step and time
std::string content_of(std::string_view row) {
  row.remove_prefix(row.find(',') + 1);
  return std::string(row.substr(row.find(',') + 1));
}

// leaves the header and the whole rows up to `resume_step` in the file; returns what those of
// `resume_step` say
std::set<std::string> keep_rows_until(const std::filesystem::path& file, int64_t resume_step) {
  const std::string old_text = read_text_file(file);
  std::string_view rest = old_text;
  std::string new_text = std::string(kHeader) + "\n";
  int64_t line_number = 0;
  int64_t unreadable = 0;
  std::set<std::string> newest;
  while (!rest.empty()) {
    // without its line feed the last line is torn, even if it looks like a row
    const size_t end = rest.find('\n');
    const bool torn = end == std::string_view::npos;
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(torn ? rest.size() : end + 1);
    ++line_number;
    if (line_number == 1) {
      const bool torn_header = torn && kHeader.starts_with(line);
      if (line != kHeader && !torn_header) {
        throw DataError(file.string() + ":1: found another header than " + std::string(kHeader) +
                        "; allowed: a metrics file of this program; move the file away");
      }
      continue;
    }
    const std::optional<int64_t> step = torn ? std::nullopt : step_of(line);
    if (!step) {
      ++unreadable;
    } else if (*step <= resume_step) {
      new_text.append(line).append("\n");
      if (*step == resume_step) newest.insert(content_of(line));
    }
  }
  if (unreadable > 0) log().warn("{}: dropped {} torn line(s)", file.string(), unreadable);
  if (new_text != old_text) write_file_atomically(file, new_text);
  return newest;
}

class CsvSink : public MetricSink {
 public:
  CsvSink(const std::filesystem::path& path, int64_t resume_step, std::set<std::string> known)
      : file_(path), resume_step_(resume_step), known_(std::move(known)) {}

  void write(int64_t step, double wall_time_s, const MetricValues& values) override {
    const std::string start = std::to_string(step) + "," + shortest(wall_time_s) + ",";
    std::string rows;
    for (const auto& [name, value] : values) {
      if (name.empty() || name.find_first_of(",\"\r\n") != std::string::npos) {
        throw RunError("metric '" + name +
                       "': found a comma, quote, line feed or nothing in its name; allowed: none "
                       "of these; rename it");
      }
      // the sign of a NaN says nothing
      const std::string content = name + "," + (std::isnan(value) ? "nan" : shortest(value));
      // an evaluation comes after its step's checkpoint: some of its rows may be there already
      if (step == resume_step_ && known_.contains(content)) continue;
      rows += start + content + "\n";
    }
    file_.append(rows);
  }

  void flush() override { file_.flush(); }

 private:
  AppendFile file_;
  int64_t resume_step_;
  std::set<std::string> known_;
};

}  // namespace

std::unique_ptr<MetricSink> make_csv_sink(const std::filesystem::path& file, int64_t resume_step) {
  std::error_code unreadable;
  std::set<std::string> known;
  if (std::filesystem::exists(file, unreadable)) {
    known = keep_rows_until(file, resume_step);
  } else {
    write_file_atomically(file, std::string(kHeader) + "\n");
  }
  return std::make_unique<CsvSink>(file, resume_step, std::move(known));
}

}  // namespace drop
