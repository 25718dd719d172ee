#include <memory>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/data/dataset_summary.h"
#include "drop_data/commands.h"

namespace drop {

namespace {

struct InspectOptions {
  std::string file;
  std::string task;
  std::string json;
};

void inspect(const InspectOptions& options) {
  const DatasetSource source = find_dataset(options.file, options.task);
  require_output(options.json, {source.path});
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

}  // namespace

Command add_inspect(CLI::App& app) {
  const auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect", "show what a D4RL file holds: arrays, trajectories, returns, bad rows");
  command->add_option("FILE", options->file, "path of an HDF5 file, or a D4RL id")->required();
  command->add_option("--task", options->task, "task, if it does not follow from the file's name");
  add_json_option(*command, options->json);
  command->footer("Example: drop_data inspect hopper-medium-v2 --json hopper.json");
  return {command, [options] { inspect(*options); }};
}

}  // namespace drop
