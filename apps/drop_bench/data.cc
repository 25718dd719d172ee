#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <memory>

#include "drop/base/files.h"
#include "drop/base/timing.h"
#include "drop/data/benchmark.h"
#include "drop/data/dataset_id.h"
#include "drop_bench/commands.h"

namespace drop {

namespace {

struct DataOptions {
  DataBenchmarkOptions data;
  int64_t threads = -1;  // -1: one, then all
  std::string json;
};

// one row for loading or drawing, beside the bare work on the same bytes
Json row_of(const std::string& operation, const DataBenchmark& result, int64_t threads,
            const std::vector<double>& seconds, const std::vector<double>& bare, int64_t rows,
            int64_t bytes) {
  return {{"benchmark", "data"},
          {"engine", "drop"},
          {"operation", operation},
          {"device", "cpu"},
          {"threads", threads},
          {"precision", "fp32"},
          {"median_s", median(seconds)},
          {"min_s", *std::min_element(seconds.begin(), seconds.end())},
          {"flops", nullptr},
          {"peak_flops_per_s", nullptr},
          {"share_of_peak", median(bare) / median(seconds)},
          {"bare_s", median(bare)},
          {"repetitions", seconds.size()},
          {"rows_per_s", static_cast<double>(rows) / median(seconds)},
          {"bytes", bytes},
          {"file_bytes", result.file_bytes},
          {"rows", result.rows},
          {"state_dim", result.state_dim},
          {"action_dim", result.action_dim},
          {"batch_size", result.batch_size}};
}

std::string line_of(const Json& row) {
  return fmt::format("{:>9} {:>7} {:>12.3f} {:>12.3f} {:>12.3f} {:>7.1f}% {:>14.0f}",
                     row["operation"].get<std::string>(), row["threads"].get<int64_t>(),
                     1e3 * row["median_s"].get<double>(), 1e3 * row["min_s"].get<double>(),
                     1e3 * row["bare_s"].get<double>(), 100.0 * row["share_of_peak"].get<double>(),
                     row["rows_per_s"].get<double>());
}

void bench_data(DataOptions& options) {
  if (!options.data.path.empty()) {
    options.data.path = find_dataset(options.data.path).path;
    require_output(options.json, {options.data.path});
  }
  Rows rows(options.json, fmt::format("{:>9} {:>7} {:>12} {:>12} {:>12} {:>8} {:>14}", "operation",
                                      "threads", "ms", "fastest", "bare", "of peak", "rows/s"));
  for (const int64_t threads : thread_counts(options.threads)) {
    options.data.threads = threads;
    const DataBenchmark result = benchmark_data(options.data);
    const Json load = row_of("load", result, result.threads, result.load_s, result.load_bare_s,
                             result.rows, result.inflated_bytes);
    rows.add({load}, line_of(load));
    if (threads != thread_counts(options.threads).front()) continue;  // drawing takes one thread
    const Json draw = row_of("draw", result, 1, result.draw_s, result.copy_s, result.batch_size,
                             result.batch_bytes);
    rows.add({draw}, line_of(draw));
  }
  rows.finish();
}

}  // namespace

Command add_data(CLI::App& app) {
  const auto options = std::make_shared<DataOptions>();
  CLI::App* command = app.add_subcommand(
      "data", "Loading of a file and drawing of batches, beside the same bytes read and copied");
  command->add_option("--dataset", options->data.path,
                      "A D4RL file or id (default: a file of --rows is made for the run)");
  command->add_option("--rows", options->data.rows, "Transitions of the file that is made")
      ->capture_default_str()
      ->check(CLI::Range(1000, 100000000));
  command->add_option("--batch-size", options->data.batch_size, "Rows of a mini-batch")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000000));
  add_threads_option(*command, options->threads);
  command->add_option("--repetitions", options->data.repetitions, "Timed repetitions")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  add_json_option(*command, options->json);
  command->footer("Example: drop_bench data --dataset hopper-medium-v2");
  return {command, [options] { bench_data(*options); }};
}

}  // namespace drop
