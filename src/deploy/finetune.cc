#include "drop/deploy/finetune.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/base/sha256.h"
#include "drop/deploy/online_trainer.h"
#include "drop/log/progress.h"
#include "drop/nn/checkpoint.h"
#include "drop/train/run_folder.h"

namespace drop {

namespace {

// before and after are compared on other episodes than the trials saw
constexpr int64_t kComparisonSeeds = 1'000'000'007;
constexpr int64_t kPaperEnvSteps = 700'000;
constexpr int64_t kMostAscentSteps = 1'000'000;  // as search.ascent_steps

constexpr std::pair<FinetuneLevel, const char*> kLevels[] = {
    {FinetuneLevel::kCheckpoint, "checkpoint"},
    {FinetuneLevel::kEmbedding, "embedding"},
    {FinetuneLevel::kParametric, "parametric"}};

bool ascends(InferenceRuleKind rule) {
  return rule == InferenceRuleKind::kGrad || rule == InferenceRuleKind::kGradAda;
}

// what acts: the start first, then the candidates
std::vector<FinetuneTrial> plan(const FinetuneOptions& options) {
  std::vector<FinetuneTrial> trials;
  const auto checkpoints = checkpoints_at(options.run, options.last);
  for (auto path = checkpoints.rbegin(); path != checkpoints.rend(); ++path) {
    const ModelOrigin origin = load_checkpoint(*path, at::kCPU).origin;
    const int64_t configured = origin.config.search.ascent_steps;
    const auto add = [&](int64_t steps) {
      const bool known = std::any_of(trials.begin(), trials.end(), [&](const FinetuneTrial& t) {
        return t.checkpoint == *path && t.ascent_steps == steps;
      });
      if (!known) trials.push_back({*path, origin.step, steps, 0.0, 0});
    };
    if (trials.empty() || options.level == FinetuneLevel::kCheckpoint) add(configured);
    if (options.level == FinetuneLevel::kCheckpoint) continue;
    for (int64_t k = options.ascent_steps_every; k <= options.max_ascent_steps;
         k += options.ascent_steps_every)
      add(k);
  }
  return trials;
}

EvaluationResult roll_out(const FinetuneOptions& options, const FinetuneTrial& trial,
                          int64_t episodes, int64_t seed) {
  const TrainedModel trained = load_checkpoint(trial.checkpoint, options.device);
  EvaluationOptions evaluation;
  evaluation.search = trained.origin.config.search;
  evaluation.search.ascent_steps = trial.ascent_steps;
  evaluation.rule = options.rule;
  evaluation.precision = options.precision;
  evaluation.episodes = episodes;
  evaluation.seed = seed;
  evaluation.environment = {trained.origin.config.physics, trained.origin.dataset};
  evaluation.env_threads = options.env_threads;
  EvaluationResult result = evaluate(trained, evaluation);
  result.checkpoint = trial.checkpoint.string();
  return result;
}

nlohmann::ordered_json to_json(const FinetuneTrial& trial) {
  return {{"checkpoint", trial.checkpoint.string()},
          {"step", trial.step},
          {"ascent_steps", trial.ascent_steps},
          {"return", trial.mean_return},
          {"length", trial.env_steps}};
}

std::filesystem::path file_of(const FinetuneOptions& options, FinetuneLevel level,
                              const std::string& suffix) {
  return options.run / "finetune" / (to_string(level) + "-" + to_string(options.rule) + suffix);
}

// everything that a trial's result depends on beside its checkpoint and ascent steps
nlohmann::ordered_json key_of(const FinetuneOptions& options) {
  return {{"rule", to_string(options.rule)},
          {"trial_episodes", options.trial_episodes},
          {"seed", options.seed},
          {"precision", to_string(options.precision)}};
}

// results of trials on disk: each is there before the next trial begins. A checkpoint is known by
// its hash: online training that starts over gives other ones the same names
class TrialLog {
 public:
  explicit TrialLog(const FinetuneOptions& options)
      : path_(file_of(options, options.level, ".trials.json")) {
    const nlohmann::ordered_json key = key_of(options);
    kept_ = {{"key", key}, {"trials", nlohmann::ordered_json::array()}};
    if (!std::filesystem::exists(path_)) return;
    auto stored =
        nlohmann::ordered_json::parse(read_text_file(path_), nullptr, /*allow_exceptions=*/false);
    if (stored.is_object() && stored.contains("key") && stored["key"] == key &&
        holds_trials(stored))
      kept_ = stored;
  }

  bool recall(FinetuneTrial& trial) {
    for (const auto& row : kept_["trials"]) {
      if (row["sha256"] != hash_of(trial) || row["ascent_steps"] != trial.ascent_steps) continue;
      trial.mean_return = row["return"].get<double>();
      trial.env_steps = row["length"].get<int64_t>();
      return true;
    }
    return false;
  }

  void keep(const FinetuneTrial& trial) {
    nlohmann::ordered_json row = to_json(trial);
    row["sha256"] = hash_of(trial);
    kept_["trials"].push_back(std::move(row));
    write_file_atomically(path_, json_text(kept_));
  }

 private:
  // whether each row is one of ours: a file may have been changed by hand
  static bool holds_trials(const nlohmann::ordered_json& stored) {
    if (!stored.contains("trials") || !stored["trials"].is_array()) return false;
    for (const auto& row : stored["trials"]) {
      if (!row.is_object() || !row.contains("sha256")) return false;
      for (const char* number : {"ascent_steps", "return", "length"}) {
        if (!row.contains(number) || !row[number].is_number()) return false;
      }
    }
    return true;
  }

  const std::string& hash_of(const FinetuneTrial& trial) {
    std::string& hash = hashes_[trial.checkpoint.string()];
    if (hash.empty()) hash = sha256_of_file(trial.checkpoint.string());
    return hash;
  }

  std::filesystem::path path_;
  nlohmann::ordered_json kept_;
  std::map<std::string, std::string> hashes_;  // of checkpoints, by path
};

void try_out(const FinetuneOptions& options, FinetuneTrial& trial, TrialLog& log) {
  if (log.recall(trial)) return;
  const EvaluationResult outcome = roll_out(options, trial, options.trial_episodes, options.seed);
  trial.mean_return = outcome.mean();
  for (const EpisodeResult& episode : outcome.episodes) trial.env_steps += episode.length;
  log.keep(trial);
}

// where online training starts: the embedding level's choice, or the newest checkpoint
FinetuneTrial online_start(const FinetuneOptions& options) {
  const std::filesystem::path chosen = file_of(options, FinetuneLevel::kEmbedding, ".json");
  if (std::filesystem::exists(chosen)) {
    try {
      const auto found = nlohmann::ordered_json::parse(read_text_file(chosen)).at("chosen");
      const auto step = found.at("step").get<int64_t>();
      const auto ascent_steps = found.at("ascent_steps").get<int64_t>();
      const bool are_counts = found.at("step").is_number_integer() &&
                              found.at("ascent_steps").is_number_integer() && step >= 0 &&
                              ascent_steps >= 0 && ascent_steps <= kMostAscentSteps;
      // in this run, wherever the file says that it lay
      if (are_counts) return {checkpoint_path(options.run, step), step, ascent_steps, 0.0, 0};
    } catch (const nlohmann::ordered_json::exception&) {
      // refused like wrong numbers
    }
    throw DataError(chosen.string() +
                    ": is no result of drop_finetune; run the level embedding again, or remove it");
  }
  const std::filesystem::path newest = checkpoints_at(options.run, 1).front();
  const ModelOrigin origin = load_checkpoint(newest, at::kCPU).origin;
  return {newest, origin.step, origin.config.search.ascent_steps, 0.0, 0};
}

void try_candidates(const FinetuneOptions& options, FinetuneResult& result) {
  const std::vector<FinetuneTrial> trials = plan(options);
  TrialLog log(options);
  Progress bar("finetune", static_cast<int64_t>(trials.size()), options.quiet);
  for (FinetuneTrial trial : trials) {
    if (options.env_steps && result.env_steps() >= *options.env_steps && !result.trials.empty())
      break;
    try_out(options, trial, log);
    result.trials.push_back(trial);
    bar.update(static_cast<int64_t>(result.trials.size()),
               fmt::format("{} environment steps", result.env_steps()));
  }
}

void train_online(const FinetuneOptions& options, FinetuneResult& result) {
  const FinetuneTrial start = online_start(options);
  TrialLog log(options);
  result.trials.push_back(start);
  try_out(options, result.trials.front(), log);
  const int64_t steps = options.env_steps.value_or(kPaperEnvSteps);
  OnlineTrainer trainer(start.checkpoint, file_of(options, options.level, ""),
                        {options.rule, start.ascent_steps, options.noise, options.improvement,
                         options.precision, options.device, static_cast<uint64_t>(options.seed)});
  Progress bar("finetune", steps, options.quiet, 30.0, trainer.env_steps());
  for (int64_t save = 1; save <= options.saves; ++save) {
    const int64_t until = steps * save / options.saves;
    if (trainer.env_steps() < until) trainer.advance(until);
    bar.update(trainer.env_steps());
  }
  // every checkpoint on the way, those of earlier calls too
  for (const int64_t step : checkpoint_steps(file_of(options, options.level, ""))) {
    FinetuneTrial trial{checkpoint_path(file_of(options, options.level, ""), step), step,
                        start.ascent_steps, 0.0, 0};
    try_out(options, trial, log);
    result.trials.push_back(trial);
  }
  result.trained_steps = trainer.env_steps();
}

}  // namespace

std::string to_string(FinetuneLevel level) {
  for (const auto& [known, name] : kLevels) {
    if (known == level) return name;
  }
  return "";
}

FinetuneLevel finetune_level_from(const std::string& name) {
  for (const auto& [level, known] : kLevels) {
    if (name == known) return level;
  }
  throw UsageError("--level: found '" + name + "', allowed: checkpoint, embedding, parametric");
}

int64_t FinetuneResult::env_steps() const {
  int64_t sum = trained_steps;
  for (const FinetuneTrial& trial : trials) sum += trial.env_steps;
  return sum;
}

size_t best_trial(const std::vector<FinetuneTrial>& trials) {
  const auto best =
      std::max_element(trials.begin(), trials.end(),
                       [](const auto& a, const auto& b) { return a.mean_return < b.mean_return; });
  return static_cast<size_t>(best - trials.begin());
}

FinetuneResult finetune(const FinetuneOptions& options) {
  if (options.level == FinetuneLevel::kEmbedding && !ascends(options.rule)) {
    throw UsageError(
        "--rule: found " + to_string(options.rule) +
        " at --level embedding; allowed: grad, grad-ada (only these take ascent steps)");
  }
  FinetuneResult result;
  result.level = options.level;
  result.rule = options.rule;
  result.run = options.run;
  result.seed = options.seed;
  if (options.level == FinetuneLevel::kParametric)
    train_online(options, result);
  else
    try_candidates(options, result);
  result.chosen = best_trial(result.trials);

  // before and after on fresh episodes
  const int64_t seed = options.seed + kComparisonSeeds;
  result.initial = roll_out(options, result.trials.front(), options.episodes, seed);
  result.final = result.chosen == 0
                     ? result.initial
                     : roll_out(options, result.trials[result.chosen], options.episodes, seed);
  write_file_atomically(file_of(options, options.level, ".json"), json_text(to_json(result)));
  return result;
}

nlohmann::ordered_json to_json(const FinetuneResult& result) {
  const auto compared = [&](size_t index, const EvaluationResult& evaluation) {
    nlohmann::ordered_json json = to_json(evaluation);
    json["ascent_steps"] = result.trials[index].ascent_steps;
    return json;
  };
  nlohmann::ordered_json trials = nlohmann::ordered_json::array();
  for (const FinetuneTrial& trial : result.trials) trials.push_back(to_json(trial));
  const nlohmann::ordered_json initial = compared(0, result.initial);
  return {{"level", to_string(result.level)},
          {"rule", to_string(result.rule)},
          {"run", result.run.string()},
          {"task", initial["task"]},
          {"dataset", initial["dataset"]},
          {"seed", result.seed},
          {"env_steps", result.env_steps()},
          {"initial", initial},
          {"chosen", compared(result.chosen, result.final)},
          {"trials", trials},
          {"reference", initial["reference"]}};
}

std::string format_finetune(const FinetuneResult& result) {
  const auto line = [&](const char* what, size_t index, const EvaluationResult& evaluation) {
    const FinetuneTrial& trial = result.trials[index];
    const auto score = evaluation.normalised(evaluation.mean());
    return fmt::format(
        "{:8} step {:>9}  ascent steps {:>4}  trial's return {:>10.1f}  fresh "
        "episodes {:>10.1f} +- {:.1f}{}\n",
        what, trial.step, trial.ascent_steps, trial.mean_return, evaluation.mean(),
        evaluation.std(), score ? fmt::format("  (normalised {:.1f})", *score) : "");
  };
  return fmt::format("{} level, rule {}: {} trials, {} environment steps\n",
                     to_string(result.level), to_string(result.rule), result.trials.size(),
                     result.env_steps()) +
         line("start", 0, result.initial) + line("chosen", result.chosen, result.final);
}

}  // namespace drop
