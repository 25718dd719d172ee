#include <spdlog/spdlog.h>

#include <memory>

#include "drop/base/signals.h"
#include "drop/env/maze2d_generator.h"
#include "drop/log/logging.h"
#include "drop_data/commands.h"

namespace drop {

namespace {

struct GenerateOptions {
  Maze2dGeneratorOptions generator{.rows = 100000};
  int64_t seed = 0;
  std::string out;
  bool force = false;
};

void generate(const GenerateOptions& options) {
  require_new_file(options.out, options.force);
  install_stop_handlers();
  generate_maze2d(options.generator, options.out);
  log().info("written: {}", options.out);
}

}  // namespace

Command add_generate(CLI::App& app, const CommonOptions& common) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand(
      "generate", "make Maze2D data as D4RL did: a planner walks to random goals");
  command->add_option("--task", options->generator.task, "a Maze2D task, e.g. maze2d-umaze-dense")
      ->capture_default_str();
  command->add_option("--out", options->out, "HDF5 file to write")->required();
  command->add_option("--steps", options->generator.rows, "environment steps = rows of the file")
      ->capture_default_str()
      ->check(count_range());
  command->add_option("--seed", options->seed, "seed of starts, goals and noise")
      ->capture_default_str()
      ->check(seed_range());
  command->add_flag("--noise", options->generator.action_noise, "add normal noise to the actions");
  command->add_flag("--force", options->force, "replace an existing file");
  command->footer(
      "Example: drop_data generate --task maze2d-umaze --steps 100000 --out umaze.hdf5");
  return {command, [options, &common] {
            options->generator.quiet = common.quiet;
            options->generator.seed = static_cast<uint64_t>(options->seed);
            generate(*options);
          }};
}

}  // namespace drop
