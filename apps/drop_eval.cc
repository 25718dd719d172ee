// drop_eval: roll checkpoints out in their task with the inference rules, print a table.

#include <spdlog/spdlog.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/base/sha256.h"
#include "drop/base/signals.h"
#include "drop/config/config.h"
#include "drop/deploy/evaluation.h"
#include "drop/deploy/evaluation_cache.h"
#include "drop/deploy/evaluation_report.h"
#include "drop/deploy/trace.h"
#include "drop/deploy/video.h"
#include "drop/log/logging.h"
#include "drop/log/progress.h"
#include "drop/nn/checkpoint.h"
#include "drop/nn/runtime.h"
#include "drop/train/run_folder.h"
#include "program.h"

namespace drop {
namespace {

struct EvalOptions {
  std::vector<std::string> checkpoints;
  std::string rules;
  std::string json;
  std::string cache;
  std::string trace;
  std::string video;
  std::string device = "auto";
  std::string precision = "auto";
  std::vector<std::string> overrides;
  int64_t episodes = 10;
  int64_t last = 1;
  bool last_given = false;
  int64_t seed = 0;
  int64_t threads = 0;
  int64_t network_threads = 0;
  CommonOptions common;
};

// one table compares runs of one task on one data file
void require_same_data(const std::vector<std::filesystem::path>& checkpoints) {
  std::string first;
  for (const std::filesystem::path& path : checkpoints) {
    const ModelOrigin origin = load_checkpoint(path, at::kCPU).origin;
    const std::string data = "task " + origin.task + " (physics " +
                             to_string(origin.config.physics) + ") on data set " + origin.dataset +
                             " (SHA-256 " + origin.dataset_sha256.substr(0, 12) + "...)";
    if (first.empty()) first = data;
    if (data == first) continue;
    throw UsageError(path.string() + ": found " + data + ", the checkpoints before it are of " +
                     first + "; evaluate different data one by one");
  }
}

// counted twice, a checkpoint would pass for two seeds
void require_each_once(const std::vector<std::filesystem::path>& checkpoints) {
  std::set<std::filesystem::path> known;
  for (const std::filesystem::path& path : checkpoints) {
    std::error_code ignored;
    if (known.insert(std::filesystem::weakly_canonical(path, ignored)).second) continue;
    throw UsageError("--checkpoint: found " + path.string() +
                     " twice; allowed: each checkpoint once; name it once");
  }
}

// each output a file of its own, none of them an input
void require_outputs(const EvalOptions& options, std::vector<std::filesystem::path> taken) {
  for (const std::string& output : {options.json, options.trace, options.video}) {
    require_output(output, taken);
    if (!output.empty() && output != "-") taken.emplace_back(output);
  }
}

// search settings stored in the checkpoint, with `--set search.x=y` on top
SearchConfig search_settings(const Config& stored, const std::vector<std::string>& overrides) {
  for (const std::string& text : overrides) {
    // a checkpoint holds the starts themselves
    if (text.rfind("search.", 0) != 0 || text.rfind("search.starts", 0) == 0) {
      throw UsageError("--set " + text +
                       ": found a key that training fixed; allowed here: search.* but "
                       "search.starts (the rest is in the checkpoint)");
    }
  }
  return parse_config(to_yaml(stored), "checkpoint's config", overrides).search;
}

void run(const EvalOptions& options) {
  std::vector<std::filesystem::path> checkpoints;
  for (const std::string& path : options.checkpoints) {
    for (const auto& checkpoint : checkpoints_at(path, options.last))
      checkpoints.push_back(checkpoint);
  }
  // what cannot be done is said before anything runs
  require_each_once(checkpoints);
  const bool watched = !(options.trace.empty() && options.video.empty());
  if (checkpoints.size() > 1 && watched) {
    throw UsageError(std::string(options.trace.empty() ? "--video" : "--trace") + ": found " +
                     std::to_string(checkpoints.size()) +
                     " checkpoints; allowed: one; name it in --checkpoint, without --last");
  }
  if (watched && !options.cache.empty()) {
    throw UsageError(
        "--cache: found it with --trace or --video; allowed: one of them, for what is to be "
        "recorded must be rolled out");
  }
  std::optional<EvaluationCache> cache;
  if (!options.cache.empty()) cache.emplace(options.cache);
  require_outputs(options, checkpoints);
  const std::vector<InferenceRuleKind> asked = options.rules.empty()
                                                   ? std::vector<InferenceRuleKind>{}
                                                   : inference_rules_from(options.rules);
  const Runtime runtime = configure_runtime(
      device_from(options.device), precision_from(options.precision), options.network_threads);

  // every checkpoint with every rule
  install_stop_handlers();
  if (checkpoints.size() > 1) require_same_data(checkpoints);
  std::vector<EvaluationResult> results;
  size_t from_cache = 0;
  for (const std::filesystem::path& path : checkpoints) {
    const TrainedModel trained = load_checkpoint(path, runtime.device);
    const std::string sha256 = cache ? sha256_of_file(path.string()) : "";
    if (trained.origin.task.empty()) {
      throw UsageError(path.string() +
                       ": this model was trained without a task; set `task` in its config and "
                       "train, then evaluate");
    }
    const SearchConfig search = search_settings(trained.origin.config, options.overrides);
    std::optional<TraceRecorder> trace;
    if (!options.trace.empty()) trace.emplace(options.trace, trained, path.string(), options.seed);
    const EnvironmentOptions environment = {trained.origin.config.physics, trained.origin.dataset};
    const int64_t limit = EnvironmentRegistry::instance()
                              .make(trained.origin.task, environment)
                              ->info()
                              .max_episode_steps;
    const std::vector<InferenceRuleKind>& rules = asked.empty() ? search.rules : asked;
    for (const InferenceRuleKind rule : rules) {
      EvaluationOptions evaluation;
      evaluation.search = search;
      evaluation.rule = rule;
      evaluation.precision = runtime.precision;
      evaluation.episodes = options.episodes;
      evaluation.seed = options.seed;
      evaluation.environment = environment;
      evaluation.env_threads = options.threads;
      const std::string key = cache ? EvaluationCache::key(sha256, runtime.device, evaluation) : "";
      if (cache) {
        if (std::optional<EvaluationResult> known = cache->find(key, evaluation)) {
          known->checkpoint = path.string();
          results.push_back(std::move(*known));
          ++from_cache;
          continue;
        }
      }
      if (trace) {
        trace->begin(rule);
        evaluation.observers.push_back(&*trace);
      }
      std::optional<VideoRecorder> video;
      if (!options.video.empty()) {
        const std::string film =
            rules.size() > 1 ? video_path(options.video, to_string(rule)) : options.video;
        require_writable(film);
        evaluation.observers.push_back(&video.emplace(film, VideoOptions{}));
      }
      Progress progress("eval " + to_string(rule), limit, options.common.quiet);
      evaluation.on_step = [&](int64_t step, int64_t running) {
        progress.update(step, std::to_string(running) + " of " + std::to_string(options.episodes) +
                                  " episodes running");
      };
      EvaluationResult result = evaluate(trained, evaluation);
      if (video) video->close();
      progress.finish();
      result.checkpoint = path.string();
      if (cache) cache->keep(key, result);
      results.push_back(std::move(result));
    }
    if (trace) trace->close();
  }

  if (from_cache > 0) {
    log().info("{} of {} results were in {}", from_cache, results.size(), options.cache);
  }

  // results to standard output; with `--json -` nothing else goes there
  const bool single = results.size() == 1 && !options.last_given;
  const std::string json = json_text(single ? to_json(results.front())
                                            : to_json(std::span<const EvaluationResult>(results)));
  if (options.json == "-") {
    std::fputs(json.c_str(), stdout);
    return;
  }
  std::fputs(format_table(results).c_str(), stdout);
  if (!options.json.empty()) write_file_atomically(options.json, json);
}

}  // namespace
}  // namespace drop

int main(int argc, char** argv) {
  drop::EvalOptions options;
  CLI::App app("Evaluate checkpoints in their task: raw return, normalised score, references.",
               "drop_eval");
  app.add_option("--checkpoint", options.checkpoints,
                 "A checkpoint, a run's folder (its newest), or several of them")
      ->required();
  app.add_option(
      "--rule", options.rules,
      "Comma-separated: best,grad,best-ada,grad-ada (default: the config's search.rules)");
  app.add_option("--episodes", options.episodes, "Episodes for each checkpoint and rule")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--last", options.last, "Newest checkpoints of each run folder to evaluate")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--seed", options.seed, "Seed of start states and sampled actions")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--json", options.json,
                 "Write the results as JSON to a file, or to standard output with -");
  app.add_option("--set", options.overrides,
                 "Override a search setting, e.g. --set search.ascent_steps=20 (may be repeated)")
      ->allow_extra_args(false);
  app.add_option("--device", options.device, "auto, cpu or cuda")->capture_default_str();
  app.add_option("--precision", options.precision,
                 "Products of the ascents: auto, fp32, tf32 (CUDA) or bf16; scores are float32")
      ->capture_default_str();
  app.add_option("--threads", options.threads,
                 "Threads that step the environments, 0 = all cores; the results are the same")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  app.add_option("--network-threads", options.network_threads,
                 "Threads of the networks' arithmetic, 0 = all cores")
      ->capture_default_str()
      ->check(CLI::Range(0, 100000));
  app.add_option(
      "--cache", options.cache,
      "Folder that keeps each result, by a hash of checkpoint, settings and program; what "
      "is there is not measured again, so an interrupted evaluation goes on");
  app.add_option("--trace", options.trace,
                 "HDF5 file to write, of one checkpoint: states, actions, embeddings and scores of "
                 "every step");
  app.add_option("--video", options.video,
                 "Film to write, of one checkpoint's first episode, e.g. out.mp4; with several "
                 "rules one each: out-best.mp4, ...");
  drop::add_common_options(app, options.common);
  app.footer(
      "Example:\n  drop_eval --checkpoint runs/hopper --rule best,grad-ada --episodes 10 --json "
      "hopper.json");
  return drop::run_program(app, argc, argv, options.common, [&] {
    options.last_given = app.count("--last") > 0;
    drop::run(options);
  });
}
