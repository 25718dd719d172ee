#include "drop/env/replay.h"

#include <memory>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/signals.h"
#include "drop_data/commands.h"

namespace drop {

namespace {

struct ReplayCommand {
  ReplayOptions replay;
  std::string physics = "d4rl";
  std::string json;
};

void replay_file(ReplayCommand command) {
  command.replay.physics = physics_from(command.physics);
  const std::string file = find_dataset(command.replay.file, command.replay.task).path;
  require_output(command.json, {file});
  install_stop_handlers();
  const ReplayReport report = replay(command.replay);
  print_results(to_text(report), to_json(report), command.json);
  if (!report.passed) throw RunError(report.failure());
}

}  // namespace

Command add_replay(CLI::App& app, const CommonOptions& common) {
  const auto options = std::make_shared<ReplayCommand>();
  ReplayOptions& replay = options->replay;
  CLI::App* command = app.add_subcommand(
      "replay", "apply a file's recorded actions: do our physics match its observations?");
  command->add_option("--file", replay.file, "path of an HDF5 file, or a D4RL id")->required();
  command->add_option("--task", replay.task, "task, if it does not follow from the file");
  command->add_option("--dataset-id", replay.dataset_id,
                      "D4RL id of a file of another name: decides goals, limits and the split");
  command->add_option("--physics", options->physics, "d4rl (the data's) or modern (today's MuJoCo)")
      ->capture_default_str();
  command
      ->add_option("--tolerance", replay.tolerance,
                   "largest one-step deviation of observations that passes")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_option("--episodes", replay.episodes, "of each task, only the first so many")
      ->check(count_range());
  command
      ->add_option("--stride", replay.stride, "one step at a time from every so many-th state only")
      ->capture_default_str()
      ->check(count_range());
  add_json_option(*command, options->json);
  command->footer("Example: drop_data replay --task hopper --file hopper_medium-v2.hdf5");
  return {command, [options, &common] {
            options->replay.quiet = common.quiet;
            replay_file(*options);
          }};
}

}  // namespace drop
