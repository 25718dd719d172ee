#include "drop/deploy/run_evaluator.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/deploy/evaluation.h"
#include "drop/deploy/evaluation_cache.h"
#include "drop/log/logging.h"
#include "drop/nn/safetensors.h"

namespace drop {

RunEvaluator::RunEvaluator(Config config, const RunFolder& folder, const Runtime& runtime,
                           std::string dataset_id)
    : config_(std::move(config)),
      folder_(folder),
      runtime_(runtime),
      dataset_id_(std::move(dataset_id)) {}

std::filesystem::path RunEvaluator::file_of(int64_t step, InferenceRuleKind rule) const {
  char name[64];
  std::snprintf(name, sizeof name, "step_%09lld_%s.json", static_cast<long long>(step),
                to_string(rule).c_str());
  return folder_.evaluations() / name;
}

struct RunEvaluator::Outcome {
  double mean = 0.0;
  double std = 0.0;
  std::optional<double> score;  // normalised mean
};

EvaluationOptions RunEvaluator::options_of(InferenceRuleKind rule) const {
  EvaluationOptions options;
  options.search = config_.search;
  options.rule = rule;
  options.precision = runtime_.precision;
  options.episodes = config_.eval.episodes;
  options.seed = config_.eval.seed;
  options.environment = {config_.physics, dataset_id_};
  options.env_threads = config_.threads;
  return options;
}

std::optional<RunEvaluator::Outcome> RunEvaluator::recall(const std::filesystem::path& file,
                                                          const std::string& key) const {
  if (!std::filesystem::exists(file)) return std::nullopt;
  try {
    const auto json = nlohmann::json::parse(read_text_file(file));
    if (json.at("key") != key) return std::nullopt;
    Outcome outcome{json.at("mean").get<double>(), json.at("std").get<double>(), std::nullopt};
    if (const auto& score = json.at("normalised_score"); !score.is_null())
      outcome.score = score.get<double>();
    return outcome;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;  // to be measured anew and overwritten
  }
}

MetricValues RunEvaluator::evaluate(const std::filesystem::path& checkpoint, int64_t step) {
  // the file as it lies on disk acts, so that what is measured is what a user gets
  const std::string weights = payload_sha256(read_file(checkpoint), checkpoint.string());
  std::optional<TrainedModel> trained;
  MetricValues values;
  for (const InferenceRuleKind rule : config_.eval.rules) {
    const EvaluationOptions options = options_of(rule);
    const std::string key = EvaluationCache::key(weights, runtime_.device, options);
    const std::filesystem::path file = file_of(step, rule);
    std::optional<Outcome> outcome = recall(file, key);
    if (!outcome) {
      if (!trained) trained.emplace(load_checkpoint(checkpoint, runtime_.device));
      EvaluationResult result = drop::evaluate(*trained, options);
      result.checkpoint = checkpoint.filename().string();
      nlohmann::ordered_json json = to_json(result);
      json["key"] = key;
      write_file_atomically(file, json_text(json));
      outcome = Outcome{result.mean(), result.std(), result.normalised(result.mean())};
    }
    const std::optional<double>& score = outcome->score;
    values.emplace_back("eval/" + to_string(rule) + "/return", outcome->mean);
    values.emplace_back("eval/" + to_string(rule) + "/return_std", outcome->std);
    if (score) values.emplace_back("eval/" + to_string(rule) + "/normalised_score", *score);
    log().info("seed {}, step {}: rule {}: return {:.1f} +- {:.1f}{}", config_.seed, step,
               to_string(rule), outcome->mean, outcome->std,
               score ? fmt::format(", normalised {:.1f}", *score) : "");
  }
  return values;
}

}  // namespace drop
