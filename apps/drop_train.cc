// drop_train: decompose a data set, train, checkpoint, evaluate on the way.

#include <ATen/ATen.h>
#include <mujoco/mujoco.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/signals.h"
#include "drop/base/system_report.h"
#include "drop/base/text.h"
#include "drop/config/config.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/dataset_id.h"
#include "drop/data/decomposition.h"
#include "drop/data/normaliser.h"
#include "drop/data/sampler.h"
#include "drop/deploy/run_evaluator.h"
#include "drop/env/environment.h"
#include "drop/env/reference_scores.h"
#include "drop/log/logging.h"
#include "drop/nn/runtime.h"
#include "drop/train/run_folder.h"
#include "drop/train/trainer.h"
#include "program.h"

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
  CommonOptions common;
  std::string command_line;
};

// what a data set looks like to training, before a seed is chosen
struct PreparedData {
  TrajectoryDataset dataset;
  std::vector<Trajectory> trajectories;
  Normaliser normaliser;
  RewardTransform rewards;
  std::string task;
  double return_mean = 0.0;
  double return_max = 0.0;
};

PreparedData prepare(const Config& config) {
  const DatasetSource source = find_dataset(config.dataset, config.task);
  const D4rlFileInfo info = inspect_d4rl_file(source.path);
  log().info("data: {} ({} rows, {} state and {} action dimensions, about {} in memory)",
             source.path, info.rows, info.state_dim, info.action_dim,
             human_bytes(static_cast<double>(info.memory_bytes)));
  PreparedData data;
  data.dataset = read_d4rl_file(source);
  data.trajectories = data.dataset.usable_trajectories(config.decomposition.keep_unfinished);
  if (data.trajectories.empty()) {
    throw DataError(
        source.path +
        ": no finished trajectory; set decomposition.keep_unfinished: on, or use another file");
  }
  data.normaliser = fit_normaliser(data.dataset.observations, data.dataset.state_dim);
  data.rewards.shift =
      config.train.reward_shift.value_or(data.dataset.family == Family::kAntMaze ? -1.0 : 0.0);
  data.rewards.scale = config.train.reward_scale.value_or(auto_reward_scale(
      data.dataset, data.trajectories, config.train.discount, data.rewards.shift));
  data.task = config.task.empty() ? source.task : config.task;
  data.return_max = data.trajectories.front().return_sum;
  for (const Trajectory& trajectory : data.trajectories) {
    data.return_mean += trajectory.return_sum / static_cast<double>(data.trajectories.size());
    data.return_max = std::max(data.return_max, trajectory.return_sum);
  }
  return data;
}

Decomposition decompose_data(const Config& config, const PreparedData& data, int64_t seed) {
  std::vector<double> returns;
  std::vector<int64_t> transitions;
  for (const Trajectory& trajectory : data.trajectories) {
    returns.push_back(trajectory.return_sum);
    transitions.push_back(trajectory.transitions());
  }
  return decompose(config.decomposition, returns, transitions, static_cast<uint64_t>(seed));
}

// four states spread over the file, for the checkpoint's self-test
at::Tensor pick_selftest_states(const TrajectoryDataset& dataset) {
  constexpr int64_t kStates = 4;
  at::Tensor states = at::empty({kStates, dataset.state_dim}, at::kFloat);
  for (int64_t i = 0; i < kStates; ++i) {
    const auto row = dataset.observation((dataset.rows - 1) * i / (kStates - 1));
    std::copy(row.begin(), row.end(), states.data_ptr<float>() + i * dataset.state_dim);
  }
  return states;
}

void write_provenance(const RunFolder& folder, const TrainOptions& options, const Config& config,
                      const PreparedData& data, const Runtime& runtime, int64_t seed,
                      int64_t resumed_from) {
  nlohmann::ordered_json json;
  for (const Report& report : {build_report(), machine_report(), runtime_report(runtime)}) {
    for (const auto& [name, value] : report) json[name] = value;
  }
  json["mujoco"] = mj_versionString();
  const auto reference = reference_score(data.task, data.dataset.id);
  json["data"] = {{"path", data.dataset.path},
                  {"id", data.dataset.id},
                  {"sha256", data.dataset.sha256},
                  {"rows", data.dataset.rows},
                  {"family", to_string(data.dataset.family)},
                  {"trajectories", data.trajectories.size()},
                  {"return_mean", data.return_mean},
                  {"return_max", data.return_max}};
  if (reference) {
    json["data"]["return_mean_normalised"] = normalised_score(data.return_mean, *reference);
    json["data"]["return_max_normalised"] = normalised_score(data.return_max, *reference);
  }
  json["reward_scale"] = data.rewards.scale;
  json["reward_shift"] = data.rewards.shift;
  json["seed"] = seed;
  json["eval_seed"] = config.eval.seed;
  json["command_line"] = options.command_line;
  // a resumed run keeps what earlier sessions wrote
  nlohmann::ordered_json sessions = nlohmann::ordered_json::array();
  if (std::filesystem::exists(folder.provenance())) {
    const auto before =
        nlohmann::ordered_json::parse(read_text_file(folder.provenance()), nullptr, false);
    if (before.is_object() && before.contains("sessions") && before["sessions"].is_array())
      sessions = before["sessions"];
  }
  sessions.push_back({{"from_step", resumed_from},
                      {"command_line", options.command_line},
                      {"commit", json["commit"]}});
  json["sessions"] = sessions;
  write_file_atomically(folder.provenance(), json.dump(2) + "\n");
}

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

// one run of one seed, from the data to the last checkpoint
void train_one(Config config, const TrainOptions& options, const std::filesystem::path& out,
               PreparedData data, const Runtime& runtime, int64_t seed) {
  // all that can be refused is refused before anything is written
  config.seed = seed;
  config.seeds.clear();
  const Decomposition decomposition = decompose_data(config, data, seed);
  for (const std::string& warning : decomposition.warnings) log().warn("{}", warning);
  const ModelShape shape = {data.dataset.state_dim,       data.dataset.action_dim,
                            decomposition.num_subtasks(), config.model.embedding_dim,
                            config.model.hidden_width,    config.model.policy_std};
  if (config.model.embedding == EmbeddingKind::kCvae) {
    throw UsageError("model.embedding: found cvae; allowed in this version: table");
  }
  const bool existing = RunFolder::holds_run(out);
  if (existing && !options.resume) {
    throw UsageError(
        out.string() +
        ": this folder already holds a run; continue it with --resume or choose another --out");
  }
  if (existing && std::filesystem::exists(out / "config.yaml"))
    require_resumable(out / "config.yaml", config);

  TrainState state(shape, config.train, data.rewards.scale, static_cast<uint64_t>(seed),
                   at::TensorOptions(runtime.device).dtype(at::kFloat));
  const RunFolder folder(out);
  const std::string sha256 = data.dataset.sha256;
  if (existing && resume_newest(folder, state, sha256)) {
    log().info("resumed at step {}", state.step);
    if (state.step >= config.train.steps) {
      const auto status = folder.read_status();
      if (status && status->state == "finished") {
        log().info("{}: this run has finished ({} steps)", out.string(), state.step);
        return;
      }
    }
  }

  // what the run is, before its first step
  write_file_atomically(folder.config(), to_yaml(config));
  write_provenance(folder, options, config, data, runtime, seed, state.step);
  write_file_atomically(folder.decomposition(), to_json(decomposition) + "\n");
  add_log_file(folder.train_log());
  warn_of_short_sight(config.train);
  const auto reference = reference_score(data.task, data.dataset.id);
  log().info("{} trajectories in {} sub-tasks; returns: mean {:.1f}, best {:.1f}{}",
             data.trajectories.size(), decomposition.num_subtasks(), data.return_mean,
             data.return_max,
             reference ? fmt::format(" (normalised {:.1f}, {:.1f})",
                                     normalised_score(data.return_mean, *reference),
                                     normalised_score(data.return_max, *reference))
                       : "");
  log().info("reward scale {:.4g}, shift {:g}; device {}, {} threads", data.rewards.scale,
             data.rewards.shift, runtime.device.str(), runtime.threads);

  // evaluation on the way, where the task has an environment
  std::unique_ptr<RunEvaluator> evaluator;
  if (config.eval.every > 0) {
    if (EnvironmentRegistry::instance().contains(data.task)) {
      evaluator = std::make_unique<RunEvaluator>(config, folder, runtime, data.dataset.id);
    } else {
      log().warn("{}; evaluation is off",
                 data.task.empty()
                     ? "no task is given and none follows from the data set's name (set `task`)"
                     : "task " + data.task + " has no environment in this version");
    }
  }

  TrainerInputs inputs;
  inputs.config = config;
  inputs.origin = {config,
                   data.task,
                   data.dataset.id,
                   sha256,
                   0,
                   data.rewards.scale,
                   data.rewards.shift,
                   data.return_mean,
                   data.return_max};
  inputs.normaliser = data.normaliser;
  inputs.selftest_states = pick_selftest_states(data.dataset);
  inputs.quiet = options.common.quiet;
  inputs.evaluator = evaluator.get();
  const Sampler sampler(
      std::move(data.dataset), data.trajectories, decomposition, data.normaliser, data.rewards,
      {config.train.batch_size, config.train.subtasks_per_batch, static_cast<uint64_t>(seed)},
      runtime.device);
  Trainer(std::move(inputs), folder, state, sampler).run();
  remove_log_file(folder.train_log());
  log().info("done: {}", folder.path().string());
  std::printf("%s\n", folder.path().c_str());
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
  const Runtime runtime = configure_runtime(config.device, config.precision, config.threads);

  // HDF5 -> TrajectoryDataset, then one run for each seed
  const std::vector<int64_t> seeds =
      config.seeds.empty() ? std::vector<int64_t>{config.seed} : config.seeds;
  PreparedData data = prepare(config);
  for (size_t i = 0; i < seeds.size(); ++i) {
    std::filesystem::path out = RunFolder::default_path(config, data.dataset.id, seeds[i]);
    if (!options.out.empty()) {
      out = options.out;
      if (seeds.size() > 1) out /= "seed_" + std::to_string(seeds[i]);
    }
    // the last run takes the data over, earlier ones a copy
    train_one(config, options, out, i + 1 == seeds.size() ? std::move(data) : data, runtime,
              seeds[i]);
  }
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
  drop::add_common_options(app, options.common);
  app.footer(
      "Example:\n  drop_train --config configs/gym/hopper-medium-v2.yaml --set train.steps=1e5 "
      "--seed 1 --out runs/hopper");
  return drop::run_program(app, argc, argv, options.common, [&] { drop::run(options); });
}
