// drop_data: look at D4RL files, decompose them, make Maze2D data.

#include <spdlog/spdlog.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <limits>
#include <sstream>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/signals.h"
#include "drop/base/text.h"
#include "drop/config/config.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/dataset_id.h"
#include "drop/data/dataset_summary.h"
#include "drop/data/decomposition.h"
#include "drop/env/maze2d_generator.h"
#include "drop/log/logging.h"
#include "program.h"

namespace drop {

namespace {

struct InspectOptions {
  std::string file;
  std::string task;
  std::string json;
};

struct DecomposeOptions {
  std::string file;
  std::string task;
  std::string rule = "rank";
  DecompositionConfig config;
  int64_t seed = 0;
  std::string out = "decomposition.json";
  std::string json;
};

struct GenerateOptions {
  Maze2dGeneratorOptions generator{.rows = 100000};
  int64_t seed = 0;
  std::string out;
  bool force = false;
};

// results for people and for programs; with `--json -` the latter alone on standard output
void print_results(const std::string& text, const std::string& json, const std::string& target) {
  if (target == "-") {
    std::cout << json << std::flush;
    return;
  }
  std::cout << text << std::flush;
  if (!target.empty()) write_file_atomically(target, json);
}

// finds the file and says what reading it will cost
D4rlFileInfo announce(const DatasetSource& source) {
  D4rlFileInfo info = inspect_d4rl_file(source.path);
  log().info("reading {}: {} rows, about {} of memory", source.path, info.rows,
             human_bytes(static_cast<double>(info.memory_bytes)));
  return info;
}

void inspect(const InspectOptions& options) {
  const DatasetSource source = find_dataset(options.file, options.task);
  const D4rlFileInfo info = announce(source);
  const TrajectoryDataset dataset = read_d4rl_file(source, {.require_finite = false});
  const DatasetSummary summary = summarise(info, dataset, source.task);
  print_results(to_text(summary), to_json(summary), options.json);
  if (summary.non_finite.count > 0) {
    const NonFiniteRow& first = summary.non_finite.first.front();
    throw DataError(source.path + ": key '" + first.key + "' row " + std::to_string(first.row) +
                    " is the first of " + std::to_string(summary.non_finite.count) +
                    " rows that are not finite; allowed are finite numbers; mend these rows");
  }
}

std::string table_of(const Decomposition& decomposition) {
  constexpr int64_t kShown = 10;  // at either end of a long table
  std::ostringstream text;
  char line[120];
  std::snprintf(line, sizeof line, "%8s %13s %12s %12s %12s %12s\n", "sub-task", "trajectories",
                "return mean", "min", "max", "transitions");
  text << line;
  const int64_t count = decomposition.num_subtasks();
  for (int64_t index = 0; index < count; ++index) {
    if (count > 2 * kShown + 1 && index == kShown) {
      text << "     ... (" << count - 2 * kShown << " more)\n";
      index = count - kShown;
    }
    const Subtask& subtask = decomposition.subtasks[static_cast<size_t>(index)];
    std::snprintf(line, sizeof line, "%8lld %13zu %12.2f %12.2f %12.2f %12lld\n",
                  static_cast<long long>(index), subtask.trajectories.size(), subtask.return_mean,
                  subtask.return_min, subtask.return_max,
                  static_cast<long long>(subtask.transitions));
    text << line;
  }
  return text.str();
}

void decompose_file(DecomposeOptions options) {
  options.config.rule = decomposition_from(options.rule);
  const DatasetSource source = find_dataset(options.file, options.task);
  announce(source);
  const TrajectoryDataset dataset = read_d4rl_file(source);

  // the rules see returns and counts only
  std::vector<double> returns;
  std::vector<int64_t> transitions;
  for (const Trajectory& trajectory : dataset.usable_trajectories(options.config.keep_unfinished)) {
    returns.push_back(trajectory.return_sum);
    transitions.push_back(trajectory.transitions());
  }
  const Decomposition decomposition =
      decompose(options.config, returns, transitions, static_cast<uint64_t>(options.seed));
  for (const std::string& warning : decomposition.warnings) log().warn("{}", warning);
  const std::string json = to_json(decomposition);
  write_file_atomically(options.out, json);
  log().info("written: {}", options.out);
  print_results(table_of(decomposition), json, options.json);
}

void generate(const GenerateOptions& options) {
  std::error_code ignored;
  if (!options.force && std::filesystem::exists(options.out, ignored)) {
    throw UsageError("--out " + options.out +
                     ": this file exists; choose another name or allow --force to replace it");
  }
  install_stop_handlers();
  generate_maze2d(options.generator, options.out);
  log().info("written: {}", options.out);
}

CLI::Range count_range() { return CLI::Range(int64_t{1}, int64_t{1000000000}); }

CLI::Range seed_range() { return CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()); }

void add_json_option(CLI::App& command, std::string& json) {
  command.add_option("--json", json, "also write the result as JSON to this file, or - for stdout")
      ->type_name("FILE");
}

CLI::App* add_inspect(CLI::App& app, InspectOptions& options) {
  CLI::App* command = app.add_subcommand(
      "inspect", "show what a D4RL file holds: arrays, trajectories, returns, bad rows");
  command->add_option("FILE", options.file, "path of an HDF5 file, or a D4RL id")->required();
  command->add_option("--task", options.task, "task, if it does not follow from the file's name");
  add_json_option(*command, options.json);
  command->footer("Example: drop_data inspect hopper-medium-v2 --json hopper.json");
  return command;
}

CLI::App* add_decompose(CLI::App& app, DecomposeOptions& options) {
  CLI::App* command =
      app.add_subcommand("decompose", "cut a data set into sub-tasks and write decomposition.json");
  command->add_option("FILE", options.file, "path of an HDF5 file, or a D4RL id")->required();
  command
      ->add_option("--rule", options.rule, "how to cut: rank, quantization, random or trajectory")
      ->capture_default_str();
  command->add_option("--num-subtasks", options.config.num_subtasks, "number of sub-tasks N")
      ->capture_default_str()
      ->check(count_range());
  command
      ->add_option("--trajectories-per-subtask", options.config.trajectories_per_subtask,
                   "trajectories in each sub-task, at most M")
      ->capture_default_str()
      ->check(count_range());
  command->add_option("--seed", options.seed, "seed of the rules that draw at random")
      ->capture_default_str()
      ->check(seed_range());
  command->add_flag("--keep-unfinished", options.config.keep_unfinished,
                    "use a trailing trajectory that has no end flag");
  command->add_option("--task", options.task, "task, if it does not follow from the file's name");
  command->add_option("--out", options.out, "file to write")->capture_default_str();
  add_json_option(*command, options.json);
  command->footer(
      "Example: drop_data decompose hopper-medium-v2 --rule rank --num-subtasks 50 "
      "--trajectories-per-subtask 8");
  return command;
}

CLI::App* add_generate(CLI::App& app, GenerateOptions& options) {
  CLI::App* command = app.add_subcommand(
      "generate", "make Maze2D data as D4RL did: a planner walks to random goals");
  command->add_option("--task", options.generator.task, "a Maze2D task, e.g. maze2d-umaze-dense")
      ->capture_default_str();
  command->add_option("--out", options.out, "HDF5 file to write")->required();
  command->add_option("--steps", options.generator.rows, "environment steps = rows of the file")
      ->capture_default_str()
      ->check(count_range());
  command->add_option("--seed", options.seed, "seed of starts, goals and noise")
      ->capture_default_str()
      ->check(seed_range());
  command->add_flag("--noise", options.generator.action_noise, "add normal noise to the actions");
  command->add_flag("--force", options.force, "replace an existing file");
  command->footer(
      "Example: drop_data generate --task maze2d-umaze --steps 100000 --out umaze.hdf5");
  return command;
}

}  // namespace

}  // namespace drop

int main(int argc, char** argv) {
  CLI::App app("Look at D4RL data sets, decompose them into sub-tasks, make Maze2D data.",
               "drop_data");
  drop::CommonOptions common;
  drop::add_common_options(app, common);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer("Example: drop_data inspect hopper-medium-v2");
  drop::InspectOptions inspect_options;
  drop::DecomposeOptions decompose_options;
  drop::GenerateOptions generate_options;
  CLI::App* inspect_command = drop::add_inspect(app, inspect_options);
  CLI::App* decompose_command = drop::add_decompose(app, decompose_options);
  drop::add_generate(app, generate_options);

  return drop::run_program(app, argc, argv, common, [&] {
    if (inspect_command->parsed()) {
      drop::inspect(inspect_options);
    } else if (decompose_command->parsed()) {
      drop::decompose_file(decompose_options);
    } else {
      generate_options.generator.quiet = common.quiet;
      generate_options.generator.seed = static_cast<uint64_t>(generate_options.seed);
      drop::generate(generate_options);
    }
  });
}
