#include "drop_bench/commands.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <set>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/system_report.h"
#include "drop/base/text.h"
#include "drop/base/timing.h"
#include "drop/env/environment.h"
#include "drop/log/logging.h"

namespace drop {

namespace {

const std::vector<Precision> kPrecisions = {Precision::kFp32, Precision::kTf32, Precision::kBf16};

void print(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

std::vector<std::string> precision_names() {
  std::vector<std::string> names;
  for (const Precision precision : kPrecisions) names.push_back(to_string(precision));
  return names;
}

}  // namespace

Rows::Rows(std::string target, std::string heading)
    : target_(std::move(target)), heading_(std::move(heading)) {
  if (!target_.empty() && target_ != "-") require_writable(target_);
}

void Rows::add(const std::vector<Json>& rows, const std::string& text) {
  if (lines_.empty() && target_ != "-") print(heading_);
  for (const Json& row : rows) {
    if (target_ == "-") print(row.dump());
    lines_ += row.dump() + "\n";
  }
  if (target_ != "-") print(text);
}

void Rows::finish() const {
  if (!target_.empty() && target_ != "-") write_file_atomically(target_, lines_);
}

void add_threads_option(CLI::App& command, int64_t& threads) {
  command.add_option("--threads", threads, "Threads, 0 = all cores (default: one, then all cores)")
      ->check(CLI::Range(0, 100000));
}

void add_json_option(CLI::App& command, std::string& json) {
  command.add_option("--json", json,
                     "Write one JSON object a line to a file, or to standard output with -");
}

void add_engine_options(CLI::App& command, EngineOptions& options,
                        const std::vector<std::string>& engines) {
  const CLI::Range size(1, 100000000);
  command.add_option("--task", options.task, "Take the states' and actions' sizes of this task");
  command.add_option("--device", options.device, "auto, cpu or cuda")->capture_default_str();
  command
      .add_option("--precision", options.precision,
                  "fp32, tf32 or bf16 (default: all that this machine offers)")
      ->check(CLI::IsMember(precision_names()));
  add_threads_option(command, options.threads);
  command.add_option("--engine", options.engine, join(engines) + " (default: all that are here)")
      ->check(CLI::IsMember(engines));
  command.add_option("--hidden-width", options.shape.hidden_width, "Width of the hidden layers")
      ->capture_default_str()
      ->check(size);
  command.add_option("--repetitions", options.plan.repetitions, "Timed repetitions")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  command
      .add_option("--seconds", options.plan.repetition_s,
                  "Seconds of a repetition, about; at least one step or ascent is made")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 600.0));
  command
      .add_option("--steps", options.plan.steps,
                  "Steps or ascents of a repetition (default: as many as --seconds holds)")
      ->check(size);
  command.add_flag("--no-peak", options.no_peak, "Do not measure the machine's own peak");
  add_json_option(command, options.json);
}

std::vector<int64_t> thread_counts(int64_t asked) {
  if (asked >= 0) return {asked};
  if (available_cores() == 1) return {1};
  return {1, available_cores()};
}

void for_each_engine(EngineOptions& options, const std::vector<std::string>& engines,
                     const std::function<void(const Runtime&, const std::string&)>& bench) {
  options.plan.peak = !options.no_peak;
  if (!options.task.empty()) {
    const TaskInfo info = EnvironmentRegistry::instance().make(options.task, {})->info();
    options.shape.state_dim = info.state_dim;
    options.shape.action_dim = info.action_dim;
  }
  const Device device = device_from(options.device);
  std::set<std::string> left_out;
  std::optional<UsageError> first_refusal;
  bool measured = false;
  const auto unless_refused = [&](const std::string& what, const auto& action) {
    try {
      action();
    } catch (const UsageError& refusal) {
      left_out.insert("left out " + what + ": " + refusal.what());
      if (!first_refusal) first_refusal = refusal;
    }
  };

  for (const Precision precision : kPrecisions) {
    if (!options.precision.empty() && options.precision != to_string(precision)) continue;
    for (const int64_t threads : thread_counts(options.threads)) {
      unless_refused(to_string(precision), [&] {
        const Runtime runtime = configure_runtime(device, precision, threads);
        for (const std::string& engine : engines) {
          if (!options.engine.empty() && options.engine != engine) continue;
          unless_refused(engine + " in " + to_string(precision), [&] {
            bench(runtime, engine);
            measured = true;
          });
        }
      });
    }
  }
  if (!measured) throw *first_refusal;
  for (const std::string& line : left_out) log().info("{}", line);
}

Json engine_row(const std::string& benchmark, const std::string& engine, const Runtime& runtime,
                const BenchmarkTimes& times, double flops) {
  const double seconds = median(times.seconds);
  const double peak = times.peak_flops_per_s;
  Json row = {{"benchmark", benchmark},
              {"engine", engine},
              {"device", runtime.device.is_cuda() ? "cuda" : "cpu"},
              {"threads", runtime.threads},
              {"precision", to_string(runtime.precision)},
              {"median_s", seconds},
              {"min_s", *std::min_element(times.seconds.begin(), times.seconds.end())},
              {"flops", flops},
              {"peak_flops_per_s", nullptr},
              {"share_of_peak", nullptr},
              {"steps", times.steps},
              {"repetitions", times.seconds.size()},
              {"steps_per_s", 1.0 / seconds}};
  if (peak > 0.0) {
    row["peak_flops_per_s"] = peak;
    row["share_of_peak"] = flops / (seconds * peak);
  }
  return row;
}

std::string engine_heading(const std::string& unit) {
  return fmt::format("{:>9} {:>6} {:>9} {:>7} {:>12} {:>12} {:>12} {:>8}", "engine", "device",
                     "precision", "threads", "ms/" + unit, "fastest", "floor", "of peak");
}

std::string engine_line(const Json& row, const std::string& remark) {
  std::string line =
      fmt::format("{:>9} {:>6} {:>9} {:>7} {:>12.3f} {:>12.3f}", row["engine"].get<std::string>(),
                  row["device"].get<std::string>(), row["precision"].get<std::string>(),
                  row["threads"].get<int>(), 1e3 * row["median_s"].get<double>(),
                  1e3 * row["min_s"].get<double>());
  if (!row["share_of_peak"].is_null()) {
    line += fmt::format(" {:>12.3f} {:>7.1f}%",
                        1e3 * row["flops"].get<double>() / row["peak_flops_per_s"].get<double>(),
                        100.0 * row["share_of_peak"].get<double>());
  }
  return line + remark;
}

}  // namespace drop
