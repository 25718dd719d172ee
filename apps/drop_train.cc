// drop_train: decompose a data set, train, checkpoint, evaluate on the way.

#include <ATen/ATen.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/signals.h"
#include "drop/base/text.h"
#include "drop/config/config.h"
#include "drop/data/decomposition.h"
#include "drop/data/sampler.h"
#include "drop/deploy/evaluation.h"
#include "drop/deploy/run_evaluator.h"
#include "drop/env/environment.h"
#include "drop/env/reference_scores.h"
#include "drop/log/logging.h"
#include "drop/nn/runtime.h"
#include "drop/search/ascent_engine.h"
#include "drop/train/engine_check.h"
#include "drop/train/run_folder.h"
#include "drop/train/trainer.h"
#include "drop/train/training_data.h"
#include "program.h"
#include "provenance.h"

namespace drop {
namespace {

struct TrainOptions {
  std::string config_path;
  std::vector<std::string> overrides;
  std::string out;
  std::string seed;
  std::string device;
  bool resume = false;
  bool dry_run = false;
  int64_t check_engines = 0;  // steps; 0 = train
  CommonOptions common;
  std::string command_line;
};

void warn_of_short_sight(const TrainConfig& train) {
  const double look_ahead = static_cast<double>(train.steps) * train.target_rate;
  const double horizon = 1.0 / (1.0 - train.discount);
  if (look_ahead < horizon) {
    log().warn(
        "train.steps x train.target_rate = {:.3g}: scores will look about {:.3g} environment steps "
        "ahead, the discount asks "
        "for 1/(1 - {}) = {:.3g}; adaptive rules fail on short-sighted scores. Cure: more steps, "
        "or a larger "
        "train.target_rate (0.05 in short runs)",
        look_ahead, look_ahead, shortest(train.discount), horizon);
  }
}

void warn_of_untrained_scores(const Config& config) {
  if (config.train.score || config.decomposition.num_subtasks == 1) return;
  log().warn(
      "train.score: off leaves the scores untrained: the inference rules cannot tell sub-tasks "
      "apart; to act, set decomposition.num_subtasks: 1");
}

void announce(const TrainingData& data, const Decomposition& decomposition, const Config& config,
              const Runtime& runtime) {
  const ModelOrigin& origin = data.origin;
  std::string scores;
  if (const auto reference = reference_score(origin.task, origin.dataset)) {
    scores = fmt::format(" (normalised {:.1f}, {:.1f})",
                         normalised_score(origin.data_return_mean, *reference),
                         normalised_score(origin.data_return_max, *reference));
  }
  size_t used = 0;
  for (const Subtask& subtask : decomposition.subtasks) used += subtask.trajectories.size();
  log().info("{} of {} trajectories in {} sub-tasks; returns: mean {:.1f}, best {:.1f}{}", used,
             data.trajectories.size(), decomposition.num_subtasks(), origin.data_return_mean,
             origin.data_return_max, scores);
  log().info("reward scale {:.4g}, shift {:g}; device {}, {} threads, {} engine, {}",
             origin.reward_scale, origin.reward_shift, runtime.device.str(), runtime.threads,
             to_string(resolved_engine(config.train.engine, runtime.device)),
             to_string(runtime.precision));
}

// why the task cannot be evaluated on this machine; empty when it can. Sizes other than the data's
// are refused
std::string obstacle_to_evaluation(const Config& config, const ModelOrigin& origin,
                                   const ModelShape& shape) {
  if (origin.task.empty())
    return "no task is given and none follows from the data set's name (set `task`)";
  const EnvironmentRegistry& registry = EnvironmentRegistry::instance();
  if (!registry.contains(origin.task))
    return "task " + origin.task + " has no environment in this version";
  try {
    const auto task = registry.make(origin.task, {config.physics, origin.dataset});
    require_fitting_task(task->info(), shape.state_dim, shape.action_dim);
  } catch (const RunError& error) {  // its models are not on this machine
    return error.what();
  }
  return "";
}

void refuse_existing(const std::filesystem::path& out, bool resume) {
  std::error_code ignored;
  if (std::filesystem::exists(coms_path(out), ignored)) {
    throw UsageError(out.string() + ": this folder holds a run of drop_coms; choose another --out");
  }
  if (resume || !RunFolder::holds_run(out)) return;
  throw UsageError(
      out.string() +
      ": this folder already holds a run; continue it with --resume or choose another --out");
}

// one seed's run
struct SeedTraining {
  Config config;  // with this seed
  std::filesystem::path out;
  bool existing = false;  // the folder holds a run to be continued
  Decomposition decomposition;
  std::unique_ptr<TrainState> state;
  std::unique_ptr<Sampler> sampler;
  std::unique_ptr<RunFolder> folder;
  std::unique_ptr<RunEvaluator> evaluator;
};

bool is_finished(const SeedTraining& run) {
  const std::optional<RunStatus> status = read_run_status(run.out);
  const std::vector<int64_t> steps = checkpoint_steps(run.out);
  return status && status->state == "finished" && !steps.empty() &&
         steps.back() >= run.config.train.steps;
}

// Decomposition -> Sampler and TrainState, for each seed on the same data; all that can be refused
// is refused before anything is written
std::vector<SeedTraining> prepare_seeds(const Config& config, const TrainOptions& options,
                                        TrainingData& data, const Runtime& runtime) {
  const std::vector<int64_t> seeds =
      config.seeds.empty() ? std::vector<int64_t>{config.seed} : config.seeds;
  const int64_t state_dim = data.dataset.state_dim;
  const int64_t action_dim = data.dataset.action_dim;
  const auto table = std::make_shared<const TransitionTable>(
      std::move(data.dataset), data.normaliser,
      RewardTransform{data.origin.reward_scale, data.origin.reward_shift}, runtime.device);
  std::vector<SeedTraining> runs;
  for (const int64_t seed : seeds) {
    SeedTraining run;
    run.config = config;
    run.config.seed = seed;
    run.config.seeds.clear();
    run.out = RunFolder::default_path(run.config, data.origin.dataset, seed);
    if (!options.out.empty()) {
      run.out = options.out;
      if (seeds.size() > 1) run.out /= "seed_" + std::to_string(seed);
    }
    if (options.check_engines == 0) {
      refuse_existing(run.out, options.resume);
      run.existing = RunFolder::holds_run(run.out);
      const std::filesystem::path stored = run.out / "config.yaml";
      if (run.existing && std::filesystem::exists(stored)) {
        require_resumable(stored, run.config,
                          "use the same setting or a new --out (drop_eval --set tries other "
                          "`search` settings on its checkpoints)");
        if (is_finished(run)) require_no_evaluation_left(stored, run.config);
      }
    }
    run.decomposition = decompose_training_data(run.config, data, seed);
    run.state = std::make_unique<TrainState>(
        model_shape(run.config, run.decomposition, state_dim, action_dim), config.train,
        data.origin.reward_scale, static_cast<uint64_t>(seed),
        at::TensorOptions(runtime.device).dtype(at::kFloat));
    run.sampler = std::make_unique<Sampler>(
        table, data.trajectories, run.decomposition,
        SamplerOptions{config.train.batch_size, config.train.subtasks_per_batch,
                       static_cast<uint64_t>(seed)});
    runs.push_back(std::move(run));
  }
  // engines that this machine lacks are refused here
  const SeedTraining& first = runs.front();
  make_step_engine(config.train.engine, runtime.precision,
                   {{first.state.get(), first.sampler.get()}}, config.train);
  make_ascent_engine(config.search.engine, runtime.precision, first.state->model);
  return runs;
}

// restores what an earlier session left and writes the folder's head; false when nothing is left
// to do
bool begin_run(SeedTraining& run, const TrainOptions& options, const TrainingData& data,
               const Runtime& runtime) {
  run.folder = std::make_unique<RunFolder>(run.out);
  const RunFolder& folder = *run.folder;
  // from now on no other process will be here; since this one looked, one may have been
  if (!run.existing && RunFolder::holds_run(run.out)) {
    throw UsageError(run.out.string() +
                     ": another process began a run in this folder meanwhile; continue that one "
                     "with --resume, or choose another --out");
  }
  add_log_file(folder.train_log());
  if (run.existing && resume_newest(folder, *run.state, run.config, data.origin.dataset_sha256)) {
    if (is_finished(run)) {
      log().info("{}: this run has finished ({} steps)", run.out.string(), run.state->step);
      return false;
    }
    log().info("{}: resumed at step {}", run.out.string(), run.state->step);
  }
  write_file_atomically(folder.config(), to_yaml(run.config));
  write_provenance(folder, data, run.config, runtime,
                   to_string(resolved_engine(run.config.train.engine, runtime.device)),
                   options.command_line, run.state->step);
  write_file_atomically(folder.decomposition(), to_json(run.decomposition));
  if (run.config.train.score) warn_of_short_sight(run.config.train);
  warn_of_untrained_scores(run.config);
  announce(data, run.decomposition, run.config, runtime);
  return true;
}

// StepEngine -> checkpoints, with evaluations between them, for runs that stand at the same step
void train_together(const std::vector<SeedTraining*>& runs, const TrainOptions& options,
                    const TrainingData& data, const Runtime& runtime) {
  std::vector<SeedRun> seeds;
  for (SeedTraining* run : runs) seeds.push_back({run->state.get(), run->sampler.get()});
  const Config& config = runs.front()->config;
  const auto engine = make_step_engine(config.train.engine, runtime.precision, seeds, config.train);
  std::vector<std::unique_ptr<Trainer>> trainers;
  std::vector<Trainer*> together;
  for (size_t i = 0; i < runs.size(); ++i) {
    const SeedTraining& run = *runs[i];
    ModelOrigin origin = data.origin;
    origin.config = run.config;
    trainers.push_back(std::make_unique<Trainer>(
        TrainerInputs{run.config, origin, data.normaliser, data.selftest_states,
                      options.common.quiet, run.evaluator.get(), data.largest_score},
        *run.folder, *run.state, *run.sampler, *engine, i));
    together.push_back(trainers.back().get());
  }
  Trainer::run_together(together);
}

void train(const Config& config, const TrainOptions& options, const Runtime& runtime) {
  TrainingData data = prepare_training_data(config);
  if (stop_requested()) throw Interrupted("stopped by a signal; nothing was written");
  std::vector<SeedTraining> runs = prepare_seeds(config, options, data, runtime);
  const std::string obstacle =
      obstacle_to_evaluation(config, data.origin, runs.front().state->model.shape());

  // seeds that stand at the same step go on together
  std::map<std::pair<int64_t, int64_t>, std::vector<SeedTraining*>> groups;
  for (SeedTraining& run : runs) {
    if (!begin_run(run, options, data, runtime)) continue;
    if (config.eval.every > 0 && obstacle.empty())
      run.evaluator =
          std::make_unique<RunEvaluator>(run.config, *run.folder, runtime, data.origin.dataset);
    groups[{run.state->step, run.state->model.shape().num_subtasks}].push_back(&run);
  }
  if (config.eval.every > 0 && !obstacle.empty() && !groups.empty())
    log().warn("{}; evaluation is off", obstacle);
  for (const auto& [position, group] : groups) train_together(group, options, data, runtime);
  for (const SeedTraining& run : runs) {
    if (run.folder) remove_log_file(run.folder->train_log());
    log().info("done: {}", run.out.string());
    std::printf("%s\n", run.out.c_str());
  }
}

// every engine of this machine against the eager one, on the config's own data; nothing is written
void check_engines(const Config& config, const TrainOptions& options, const Runtime& runtime) {
  TrainingData data = prepare_training_data(config);
  const std::vector<SeedTraining> runs = prepare_seeds(config, options, data, runtime);
  const TrainState& state = *runs.front().state;
  const at::Tensor states = data.selftest_states.clone();
  data.normaliser.apply({states.data_ptr<float>(), static_cast<size_t>(states.numel())});
  const std::vector<EngineCheck> checks =
      drop::check_engines(state.model.shape(), config, data.origin.reward_scale,
                          *runs.front().sampler, states, runtime.device, options.check_engines);
  std::fputs(format_engine_checks(checks).c_str(), stdout);
  for (const EngineCheck& check : checks) {
    if (check.passed()) continue;
    throw RunError(check.engine + " in " + to_string(check.precision) +
                   " does not agree with the reference (table above); use train.engine: eager and "
                   "search.engine: autograd, and run drop_doctor");
  }
}

void run(const TrainOptions& options) {
  std::vector<std::string> overrides = options.overrides;
  if (!options.device.empty()) overrides.push_back("device=" + options.device);
  if (!options.seed.empty()) overrides.push_back("seed=" + options.seed);
  const Config config = load_config(options.config_path, overrides);
  if (options.dry_run) {
    std::fputs(to_yaml(config).c_str(), stdout);
    return;
  }
  if (config.dataset.empty()) {
    throw UsageError(options.config_path +
                     ": dataset: found nothing; allowed: a path or a D4RL id; add `dataset: ...` "
                     "or --set dataset=PATH");
  }
  install_stop_handlers();
  const Runtime runtime = configure_runtime(config.device, config.precision, config.threads);

  if (options.check_engines > 0)
    check_engines(config, options, runtime);
  else
    train(config, options, runtime);
}

}  // namespace
}  // namespace drop

int main(int argc, char** argv) {
  drop::TrainOptions options;
  for (int i = 0; i < argc; ++i) options.command_line += (i > 0 ? " " : "") + std::string(argv[i]);
  CLI::App app(
      "Train DROP on an offline data set: decompose, train, checkpoint, evaluate on the way.",
      "drop_train");
  app.add_option("--config", options.config_path, "YAML config (see configs/)")->required();
  app.add_option("--set", options.overrides,
                 "Override a key, e.g. --set train.steps=1e5 (may be repeated)")
      ->allow_extra_args(false);
  app.add_option("--out", options.out,
                 "Run folder (default: runs/<name>/<dataset>/<variant>/seed_<s>)");
  app.add_option("--seed", options.seed, "Seed of the run, instead of the config's");
  app.add_option("--device", options.device, "auto, cpu or cuda, instead of the config's");
  app.add_flag("--resume", options.resume,
               "Continue the run in the folder from its newest good checkpoint");
  app.add_flag("--dry-run", options.dry_run,
               "Print the resolved config and stop; nothing is read or written");
  app.add_option(
         "--check-engines", options.check_engines,
         "Compare every engine of this machine with the eager one over so many steps, print "
         "a table and stop; nothing is written")
      ->check(CLI::Range(1, 100000));
  drop::add_common_options(app, options.common);
  app.footer(
      "Example:\n  drop_train --config configs/gym/hopper-medium-v2.yaml --set train.steps=1e5 "
      "--seed 1 --out runs/hopper");
  return drop::run_program(app, argc, argv, options.common, [&] { drop::run(options); });
}
