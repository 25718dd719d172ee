#include "drop/deploy/run_evaluator.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/deploy/evaluation.h"
#include "drop/log/logging.h"

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

std::optional<RunEvaluator::Outcome> RunEvaluator::recall(int64_t step,
                                                          InferenceRuleKind rule) const {
  if (!std::filesystem::exists(file_of(step, rule))) return std::nullopt;
  const auto json = nlohmann::json::parse(read_text_file(file_of(step, rule)), nullptr,
                                          /*allow_exceptions=*/false);
  const auto is_number = [&](const char* name) {
    return json.contains(name) && json[name].is_number();
  };
  // an evaluation with other settings is another one
  if (!json.is_object() || json.value("seed", int64_t{-1}) != config_.eval.seed ||
      json.value("precision", "") != to_string(runtime_.precision) ||
      json.value("episodes", nlohmann::json::array()).size() !=
          static_cast<size_t>(config_.eval.episodes) ||
      !is_number("mean") || !is_number("std")) {
    return std::nullopt;
  }
  Outcome outcome{json["mean"].get<double>(), json["std"].get<double>(), std::nullopt};
  if (is_number("normalised_score")) outcome.score = json["normalised_score"].get<double>();
  return outcome;
}

MetricValues RunEvaluator::evaluate(const std::filesystem::path& checkpoint, int64_t step) {
  // the file as it lies on disk acts, so that what is measured is what a user gets
  std::optional<TrainedModel> trained;
  MetricValues values;
  for (const InferenceRuleKind rule : config_.eval.rules) {
    std::optional<Outcome> outcome = recall(step, rule);
    if (!outcome) {
      if (!trained) trained.emplace(load_checkpoint(checkpoint, runtime_.device));
      EvaluationOptions options;
      options.search = config_.search;
      options.rule = rule;
      options.precision = runtime_.precision;
      options.episodes = config_.eval.episodes;
      options.seed = config_.eval.seed;
      options.environment = {config_.physics, dataset_id_};
      options.env_threads = config_.threads;
      EvaluationResult result = drop::evaluate(*trained, options);
      result.checkpoint = checkpoint.filename().string();
      write_file_atomically(file_of(step, rule), json_text(to_json(result)));
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
