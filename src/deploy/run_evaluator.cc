#include "drop/deploy/run_evaluator.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "drop/base/files.h"
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

bool RunEvaluator::done(int64_t step) const {
  for (const InferenceRuleKind rule : config_.eval.rules) {
    if (!std::filesystem::exists(file_of(step, rule))) return false;
    // an evaluation with other settings is another one
    const auto json = nlohmann::json::parse(read_text_file(file_of(step, rule)), nullptr,
                                            /*allow_exceptions=*/false);
    if (!json.is_object() || json.value("seed", int64_t{-1}) != config_.eval.seed ||
        json.value("precision", "") != to_string(runtime_.precision) ||
        json.value("episodes", nlohmann::json::array()).size() !=
            static_cast<size_t>(config_.eval.episodes)) {
      return false;
    }
  }
  return true;
}

MetricValues RunEvaluator::evaluate(const std::filesystem::path& checkpoint, int64_t step) {
  // the file as it lies on disk acts, so that what is measured is what a user gets
  const TrainedModel trained = load_checkpoint(checkpoint, runtime_.device);
  MetricValues values;
  for (const InferenceRuleKind rule : config_.eval.rules) {
    EvaluationOptions options;
    options.search = config_.search;
    options.rule = rule;
    options.precision = runtime_.precision;
    options.episodes = config_.eval.episodes;
    options.seed = config_.eval.seed;
    options.environment = {config_.physics, dataset_id_};
    options.env_threads = config_.threads;
    EvaluationResult result = drop::evaluate(trained, options);
    result.checkpoint = checkpoint.filename().string();
    write_file_atomically(file_of(step, rule), to_json(result).dump(2) + "\n");
    const std::optional<double> score = result.normalised(result.mean());
    values.emplace_back("eval/" + to_string(rule) + "/return", result.mean());
    values.emplace_back("eval/" + to_string(rule) + "/return_std", result.std());
    if (score) values.emplace_back("eval/" + to_string(rule) + "/normalised_score", *score);
    log().info("seed {}, step {}: rule {}: return {:.1f} +- {:.1f}{}", config_.seed, step,
               to_string(rule), result.mean(), result.std(),
               score ? fmt::format(", normalised {:.1f}", *score) : "");
  }
  return values;
}

}  // namespace drop
