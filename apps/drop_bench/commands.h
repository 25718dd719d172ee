#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "drop/kernels/benchmark.h"
#include "drop/nn/drop_model.h"
#include "drop/nn/runtime.h"
#include "program.h"

namespace drop {

/// A subcommand of drop_bench; `run` is called when the command line has been parsed and names it.
struct Command {
  CLI::App* app = nullptr;
  std::function<void()> run;
};

// one file each
Command add_env(CLI::App& app);
Command add_step(CLI::App& app);
Command add_ascent(CLI::App& app);
Command add_data(CLI::App& app);

// what several of them share

using Json = nlohmann::ordered_json;

/// Prints rows as they come: a table for people, or with `--json -` one JSON object a line.
class Rows {
 public:
  /// @param target  FILE, - or empty; throws UsageError here when FILE cannot be written
  Rows(std::string target, std::string heading);
  /// One line for people, and the rows that it stands for.
  void add(const std::vector<Json>& rows, const std::string& text);
  /// Writes FILE, if there is one.
  void finish() const;

 private:
  std::string target_;
  std::string heading_;
  std::string lines_;
};

/// Options of the benchmarks of engines.
struct EngineOptions {
  std::string device = "auto";
  std::string precision;  ///< empty = all
  int64_t threads = -1;   ///< 0 = all cores, -1: one, then all
  std::string engine;     ///< empty = all
  std::string task;       ///< sizes of this task's states and actions; empty = the paper's
  ModelShape shape = {.state_dim = 11, .action_dim = 3, .num_subtasks = 100};
  BenchmarkPlan plan;
  bool no_peak = false;
  std::string json;
};

void add_engine_options(CLI::App& command, EngineOptions& options,
                        const std::vector<std::string>& engines);
void add_threads_option(CLI::App& command, int64_t& threads);
void add_json_option(CLI::App& command, std::string& json);

/// 1, then all cores, unless a number is asked for.
std::vector<int64_t> thread_counts(int64_t asked);

/// Calls `bench(runtime, engine)` for every precision, thread count and engine asked for. What this
/// build or machine lacks is left out with a line; if that leaves nothing, its UsageError is
/// thrown.
void for_each_engine(EngineOptions& options, const std::vector<std::string>& engines,
                     const std::function<void(const Runtime&, const std::string&)>& bench);

/// The fields that rows of all engines have.
Json engine_row(const std::string& benchmark, const std::string& engine, const Runtime& runtime,
                const BenchmarkTimes& times, double flops);

/// Heading and line of the table for people.
std::string engine_heading(const std::string& unit);
std::string engine_line(const Json& row, const std::string& remark);

}  // namespace drop
