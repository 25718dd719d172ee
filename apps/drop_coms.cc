// drop_coms: the baseline COMs on a config of drop_train's: fit policies, train, ascend, evaluate.

#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/base/signals.h"
#include "drop/config/config.h"
#include "drop/data/decomposition.h"
#include "drop/data/sampler.h"
#include "drop/deploy/coms_policy.h"
#include "drop/deploy/evaluation.h"
#include "drop/deploy/evaluation_report.h"
#include "drop/env/environment.h"
#include "drop/log/logging.h"
#include "drop/log/metrics.h"
#include "drop/log/progress.h"
#include "drop/nn/runtime.h"
#include "drop/train/coms.h"
#include "drop/train/run_folder.h"
#include "drop/train/trainer.h"
#include "drop/train/training_data.h"
#include "program.h"
#include "provenance.h"

namespace drop {
namespace {

struct ProgramOptions {
  std::string config_path;
  std::vector<std::string> overrides;
  std::string out;
  std::string seed;
  bool resume = false;
  bool force = false;
  bool dry_run = false;
  CommonOptions common;
  std::string command_line;
};

void require_usable(const Config& config, const std::string& source) {
  if (config.dataset.empty()) {
    throw UsageError(source +
                     ": dataset: found nothing; allowed: a path or a D4RL id; add `dataset: ...` "
                     "or --set dataset=PATH");
  }
  if (config.seeds.size() > 1) {
    throw UsageError(source + ": seeds: found " + std::to_string(config.seeds.size()) +
                     "; allowed: one; name it with --seed");
  }
  if (config.model.embedding == EmbeddingKind::kCvae) {
    throw UsageError(source +
                     ": model.embedding: found cvae; allowed: table; COMs needs sub-tasks");
  }
}

// without its task a run would end in nothing
void require_task(const Config& config, const TrainingData& data) {
  const ModelOrigin& origin = data.origin;
  if (origin.task.empty()) {
    throw UsageError(
        "no task is given and none follows from the data set's name; set `task` in the config or "
        "with --set task=NAME");
  }
  const auto task =
      EnvironmentRegistry::instance().make(origin.task, {config.physics, origin.dataset});
  require_fitting_task(task->info(), data.dataset.state_dim, data.dataset.action_dim);
}

std::filesystem::path protocol_path(const RunFolder& folder) {
  return folder.evaluations() / "protocol.json";
}

std::string hash_of_stored_data(const std::filesystem::path& provenance) {
  if (!std::filesystem::exists(provenance)) return "";
  const auto json = nlohmann::json::parse(read_text_file(provenance), nullptr, false);
  const nlohmann::json::json_pointer key("/data/sha256");
  return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
}

// true when the folder holds this very run, finished. Refuses to write over any other one, unless
// it is told to
bool is_finished(const RunFolder& folder, const ProgramOptions& options, const Config& config,
                 const TrainingData& data) {
  if (options.force || !std::filesystem::exists(folder.config())) return false;
  require_resumable(folder.config(), config,
                    "use the same setting, a new --out, or --force to start over");
  const Config stored = load_config(folder.config().string());
  const std::string hash = hash_of_stored_data(folder.provenance());
  if (stored.seed != config.seed || (!hash.empty() && hash != data.origin.dataset_sha256)) {
    throw UsageError(folder.path().string() + ": this run has another " +
                     (stored.seed != config.seed ? "seed" : "data file") +
                     "; choose another --out, or --force to start over");
  }
  const std::optional<RunStatus> status = folder.read_status();
  return status && status->state == "finished" && status->step == config.train.steps &&
         stored.eval == config.eval && std::filesystem::exists(coms_path(folder.path())) &&
         std::filesystem::exists(protocol_path(folder));
}

ComsModel train(const Config& config, const ProgramOptions& options, TrainingData& data,
                const Decomposition& decomposition, const RunFolder& folder,
                const Runtime& runtime) {
  const Sampler sampler(
      std::move(data.dataset), data.trajectories, decomposition, data.normaliser,
      RewardTransform{data.origin.reward_scale, data.origin.reward_shift},
      SamplerOptions{config.train.batch_size, 0, static_cast<uint64_t>(config.seed)},
      runtime.device);
  const ComsSettings settings;
  const std::unique_ptr<MetricSink> metrics = make_csv_sink(folder.metrics(), /*resume_step=*/0);
  const auto start = std::chrono::steady_clock::now();
  Progress progress("coms", config.train.steps + settings.score_steps, options.common.quiet);
  ComsModel model = train_coms(
      config, settings, sampler, decomposition, [&](int64_t step, const MetricValues& values) {
        const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
        metrics->write(step, wall.count(), values);
        progress.update(step);
      });
  metrics->flush();
  progress.finish();
  return model;
}

// the policy that the ascent found; named after the rule that ascends at the first state
EvaluationResult evaluate(const ComsModel& model, const TrainingData& data,
                          const ModelOrigin& origin, const std::string& file) {
  ComsPolicy policy(model.policy, model.inferred, data.normaliser);
  EvaluationOptions evaluation;
  evaluation.search = origin.config.search;
  evaluation.rule = InferenceRuleKind::kGrad;
  evaluation.episodes = origin.config.eval.episodes;
  evaluation.seed = origin.config.eval.seed;
  evaluation.environment = {origin.config.physics, origin.dataset};
  evaluation.env_threads = origin.config.threads;
  EvaluationResult result = drop::evaluate(origin, policy, evaluation);
  result.checkpoint = file;
  return result;
}

// what ended the run is told, not that it could not be noted down (a full disk)
void note_end(const RunFolder& folder, const std::string& state) {
  try {
    folder.write_status({state});
  } catch (const Error& error) {
    log().warn("{}", error.what());
  }
}

void run(const ProgramOptions& options) {
  std::vector<std::string> overrides = options.overrides;
  if (!options.seed.empty()) overrides.push_back("seed=" + options.seed);
  Config config = load_config(options.config_path, overrides);
  if (options.dry_run) {
    std::fputs(to_yaml(config).c_str(), stdout);
    return;
  }
  require_usable(config, options.config_path);
  config.seeds.clear();
  const std::filesystem::path out = options.out;
  if (!checkpoint_steps(out).empty()) {
    throw UsageError(out.string() +
                     ": this folder holds a run of drop_train; choose another --out");
  }
  if (RunFolder::holds_run(out) && !options.resume && !options.force) {
    throw UsageError(out.string() +
                     ": this folder already holds a run; --resume keeps it where it is finished, "
                     "--force starts over, or choose another --out");
  }
  install_stop_handlers();
  const Runtime runtime = configure_runtime(config.device, config.precision, config.threads);
  TrainingData data = prepare_training_data(config);
  require_task(config, data);
  const Decomposition decomposition = decompose_training_data(config, data, config.seed);
  if (stop_requested()) throw Interrupted("stopped by a signal; nothing was written");

  const RunFolder folder(out);
  if (is_finished(folder, options, config, data)) {
    log().info("{}: this run has finished", out.string());
    return;
  }
  // what an earlier run may have left holds no more
  const std::filesystem::path file = coms_path(out);
  const std::filesystem::path scores = protocol_path(folder);
  folder.write_status({"running"});
  std::filesystem::remove(file);
  std::filesystem::remove(scores);
  write_file_atomically(folder.config(), to_yaml(config));
  write_provenance(folder, data, config, runtime, "autograd", options.command_line, 0);
  write_file_atomically(folder.decomposition(), to_json(decomposition));
  add_log_file(folder.train_log());
  log().info("{} policies of {} sub-tasks; device {}, {} threads", decomposition.num_subtasks(),
             to_string(decomposition.rule), runtime.device.str(), runtime.threads);

  try {
    ModelOrigin origin = data.origin;
    origin.config = config;
    origin.step = config.train.steps;
    const ComsModel model = train(config, options, data, decomposition, folder, runtime);
    save_coms(file, model, origin, data.normaliser);
    const std::vector<EvaluationResult> results = {evaluate(model, data, origin, file.string())};
    write_file_atomically(scores, json_text(to_json(std::span<const EvaluationResult>(results))));
    folder.write_status({"finished", config.train.steps});
    std::fputs(format_table(results).c_str(), stdout);
  } catch (const Interrupted&) {
    note_end(folder, "interrupted");
    throw;
  } catch (...) {
    note_end(folder, "failed");
    throw;
  }
}

}  // namespace
}  // namespace drop

int main(int argc, char** argv) {
  drop::ProgramOptions options;
  for (int i = 0; i < argc; ++i) options.command_line += (i > 0 ? " " : "") + std::string(argv[i]);
  CLI::App app(
      "Train and evaluate COMs, the paper's baseline: gradient ascent on policies' weights.",
      "drop_coms");
  app.add_option("--config", options.config_path, "YAML config (see configs/)")->required();
  app.add_option("--set", options.overrides,
                 "Override a key, e.g. --set search.ascent_steps=200 (may be repeated)")
      ->allow_extra_args(false);
  app.add_option("--out", options.out, "Run folder")->required();
  app.add_option("--seed", options.seed, "Seed of the run, instead of the config's");
  app.add_flag("--resume", options.resume,
               "Leave a finished run as it is; one that was stopped starts over");
  app.add_flag("--force", options.force, "Start over, whatever the folder holds");
  app.add_flag("--dry-run", options.dry_run,
               "Print the resolved config and stop; nothing is read or written");
  drop::add_common_options(app, options.common);
  app.footer(
      "Used of the config: decomposition, train.steps, .batch_size (rows of each policy) and\n"
      ".learning_rate for the policies, model.hidden_width of the score model,\n"
      "search.ascent_steps, eval.episodes and .seed; docs/algorithm.md has the rest.\n\n"
      "Example:\n  drop_coms --config configs/gym/hopper-medium-v2.yaml --set train.steps=2000 "
      "--set search.ascent_steps=200 --out runs/coms");
  return drop::run_program(app, argc, argv, options.common, [&] { drop::run(options); });
}
