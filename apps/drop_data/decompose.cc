#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>
#include <sstream>

#include "drop/base/files.h"
#include "drop/config/config.h"
#include "drop/data/decomposition.h"
#include "drop/log/logging.h"
#include "drop_data/commands.h"

namespace drop {

namespace {

struct DecomposeOptions {
  std::string file;
  std::string task;
  std::string rule = "rank";
  DecompositionConfig config;
  int64_t seed = 0;
  std::string out = "decomposition.json";
  bool force = false;
  std::string json;
};

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
  require_output(options.out, {source.path});
  require_output(options.json, {source.path, options.out});
  require_new_file(options.out, options.force);
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

}  // namespace

Command add_decompose(CLI::App& app) {
  const auto options = std::make_shared<DecomposeOptions>();
  CLI::App* command =
      app.add_subcommand("decompose", "cut a data set into sub-tasks and write decomposition.json");
  command->add_option("FILE", options->file, "path of an HDF5 file, or a D4RL id")->required();
  command
      ->add_option("--rule", options->rule, "how to cut: rank, quantization, random or trajectory")
      ->capture_default_str();
  command->add_option("--num-subtasks", options->config.num_subtasks, "number of sub-tasks N")
      ->capture_default_str()
      ->check(count_range());
  command
      ->add_option("--trajectories-per-subtask", options->config.trajectories_per_subtask,
                   "trajectories in each sub-task, at most M")
      ->capture_default_str()
      ->check(count_range());
  command->add_option("--seed", options->seed, "seed of the rules that draw at random")
      ->capture_default_str()
      ->check(seed_range());
  command->add_flag("--keep-unfinished", options->config.keep_unfinished,
                    "use a trailing trajectory that has no end flag");
  command->add_option("--task", options->task, "task, if it does not follow from the file's name");
  command->add_option("--out", options->out, "file to write")->capture_default_str();
  command->add_flag("--force", options->force, "replace an existing file");
  add_json_option(*command, options->json);
  command->footer(
      "Example: drop_data decompose hopper-medium-v2 --rule rank --num-subtasks 50 "
      "--trajectories-per-subtask 8");
  return {command, [options] { decompose_file(*options); }};
}

}  // namespace drop
