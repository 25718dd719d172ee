#include <spdlog/spdlog.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/signals.h"
#include "drop/deploy/rollout_generator.h"
#include "drop/env/maze2d_generator.h"
#include "drop/log/logging.h"
#include "drop/nn/runtime.h"
#include "drop/train/run_folder.h"
#include "drop_data/commands.h"

namespace drop {

namespace {

struct GenerateOptions {
  std::string task;
  std::string out;
  bool force = false;
  int64_t seed = 0;
  double noise = 0.0;
  int64_t steps = 100000;  // of the way-point controller
  std::string policy;      // a checkpoint instead of the controller
  std::string rule = "best";
  int64_t episodes = 100;
  double epsilon = 0.0;
  std::string physics;
};

void generate_from_policy(const GenerateOptions& options, bool quiet) {
  const Runtime runtime = configure_runtime(Device::kAuto, Precision::kAuto, 0);
  const std::filesystem::path checkpoint = checkpoints_at(options.policy).front();
  require_output(options.out, {checkpoint});
  const TrainedModel trained = load_checkpoint(checkpoint, runtime.device);
  const std::string& task = trained.origin.task;
  if (!options.task.empty() && options.task != task) {
    throw UsageError("--task " + options.task + ": the policy of " + checkpoint.string() +
                     " acts in task \"" + task + "\"; leave --task away");
  }
  RolloutOptions rollouts;
  rollouts.rule = inference_rule_from(options.rule);
  rollouts.search = trained.origin.config.search;
  rollouts.environment = {
      options.physics.empty() ? trained.origin.config.physics : physics_from(options.physics),
      trained.origin.dataset};
  rollouts.episodes = options.episodes;
  rollouts.seed = static_cast<uint64_t>(options.seed);
  rollouts.noise = options.noise;
  rollouts.epsilon = options.epsilon;
  rollouts.policy_file = checkpoint.filename().string();
  rollouts.quiet = quiet;
  const RolloutSummary summary = generate_rollouts(trained, rollouts, options.out);
  log().info("written: {}, {} rows in {} episodes, return {:.2f} +- {:.2f}", options.out,
             summary.rows, options.episodes, summary.return_mean, summary.return_std);
}

void generate(const GenerateOptions& options, bool quiet) {
  require_new_file(options.out, options.force);
  install_stop_handlers();
  if (!options.policy.empty()) {
    generate_from_policy(options, quiet);
    return;
  }
  Maze2dGeneratorOptions walk;
  if (!options.task.empty()) walk.task = options.task;
  walk.rows = options.steps;
  walk.seed = static_cast<uint64_t>(options.seed);
  walk.action_noise = options.noise;
  walk.quiet = quiet;
  generate_maze2d(walk, options.out);
  log().info("written: {}", options.out);
}

}  // namespace

Command add_generate(CLI::App& app, const CommonOptions& common) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand(
      "generate",
      "make data: Maze2D as D4RL did (a planner walks to random goals), or any task by rolling a "
      "checkpoint out");
  command->add_option("--task", options->task,
                      "a Maze2D task, e.g. maze2d-umaze-dense (default: maze2d-umaze); with "
                      "--policy it follows from the checkpoint");
  command->add_option("--out", options->out, "HDF5 file to write")->required();
  command->add_option("--seed", options->seed, "seed of starts, goals and noise")
      ->capture_default_str()
      ->check(seed_range());
  command
      ->add_option(
          "--noise", options->noise,
          "standard deviation of normal noise on the actions, which have none without this "
          "option; --noise alone means the 0.5 of D4RL's Maze2D script")
      ->expected(0, 1)
      ->default_str("0.5")
      ->check(CLI::Range(0.0, 100.0));
  command->add_flag("--force", options->force, "replace an existing file");
  CLI::Option* steps =
      command
          ->add_option("--steps", options->steps, "planner: environment steps = rows of the file")
          ->capture_default_str()
          ->check(count_range());
  CLI::Option* policy = command->add_option("--policy", options->policy,
                                            "checkpoint, or run folder (its newest), to roll out");
  policy->excludes(steps);
  command->add_option("--rule", options->rule, "policy: best, grad, best-ada or grad-ada")
      ->capture_default_str()
      ->needs(policy);
  command->add_option("--episodes", options->episodes, "policy: episodes to write")
      ->capture_default_str()
      ->check(count_range())
      ->needs(policy);
  command
      ->add_option("--epsilon", options->epsilon,
                   "policy: share of steps with an action uniform in [-1, 1] instead")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0))
      ->needs(policy);
  command->add_option("--physics", options->physics, "policy: d4rl or modern (default: as trained)")
      ->needs(policy);
  command->footer(
      "Example: drop_data generate --policy runs/hopper --noise 0.1 --epsilon 0.05 --out my.hdf5\n"
      "     or: drop_data generate --task maze2d-umaze --steps 100000 --out umaze.hdf5");
  return {command, [options, &common] { generate(*options, common.quiet); }};
}

}  // namespace drop
