#include "drop/deploy/evaluation_cache.h"

#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/sha256.h"
#include "drop/base/system_report.h"

namespace drop {

namespace {

// what is stored, field by field
nlohmann::ordered_json stored_form(const EvaluationResult& result) {
  nlohmann::ordered_json episodes = nlohmann::ordered_json::array();
  for (const EpisodeResult& episode : result.episodes)
    episodes.push_back({episode.episode_return, episode.length, episode.terminated});
  nlohmann::ordered_json reference = nullptr;
  if (result.reference)
    reference = {result.reference->random, result.reference->expert, result.reference->source};
  return {{"task", result.task},
          {"dataset", result.dataset},
          {"dataset_sha256", result.dataset_sha256},
          {"checkpoint", result.checkpoint},
          {"step", result.step},
          {"rule", to_string(result.rule)},
          {"precision", to_string(result.precision)},
          {"seed", result.seed},
          {"episodes", episodes},
          {"reference", reference},
          {"data_return_mean", result.data_return_mean},
          {"data_return_max", result.data_return_max},
          {"data_length_mean", result.data_length_mean},
          {"max_episode_steps", result.max_episode_steps},
          {"wall_time_s", result.wall_time_s}};
}

// throws for what `stored_form` has not written
EvaluationResult result_from(const nlohmann::ordered_json& json) {
  EvaluationResult result;
  json.at("task").get_to(result.task);
  json.at("dataset").get_to(result.dataset);
  json.at("dataset_sha256").get_to(result.dataset_sha256);
  json.at("checkpoint").get_to(result.checkpoint);
  json.at("step").get_to(result.step);
  result.rule = inference_rules_from(json.at("rule").get<std::string>()).at(0);
  result.precision = precision_from(json.at("precision").get<std::string>());
  json.at("seed").get_to(result.seed);
  for (const auto& episode : json.at("episodes")) {
    result.episodes.push_back(
        {episode.at(0).get<double>(), episode.at(1).get<int64_t>(), episode.at(2).get<bool>()});
  }
  if (const auto& reference = json.at("reference"); !reference.is_null()) {
    result.reference = {reference.at(0).get<double>(), reference.at(1).get<double>(),
                        reference.at(2).get<std::string>()};
  }
  json.at("data_return_mean").get_to(result.data_return_mean);
  json.at("data_return_max").get_to(result.data_return_max);
  json.at("data_length_mean").get_to(result.data_length_mean);
  json.at("max_episode_steps").get_to(result.max_episode_steps);
  json.at("wall_time_s").get_to(result.wall_time_s);
  return result;
}

std::string commit() {
  for (const auto& [name, value] : build_report()) {
    if (name == "commit") return value;
  }
  return "";
}

}  // namespace

EvaluationCache::EvaluationCache(std::filesystem::path folder) : folder_(std::move(folder)) {
  std::error_code problem;
  std::filesystem::create_directories(folder_, problem);
  if (problem) {
    throw UsageError(folder_.string() + ": found no folder and cannot make one (" +
                     problem.message() + "); allowed: a folder to write to");
  }
  require_writable((folder_ / "any").string());
}

std::string EvaluationCache::key(const std::filesystem::path& checkpoint,
                                 const TrainedModel& trained, const EvaluationOptions& options) {
  Config config = trained.origin.config;
  config.search = options.search;
  const std::string text = nlohmann::ordered_json{commit(),
                                                  sha256_of_file(checkpoint.string()),
                                                  to_yaml(config),
                                                  to_string(options.rule),
                                                  to_string(options.precision),
                                                  trained.embeddings.device().str(),
                                                  options.episodes,
                                                  options.seed,
                                                  options.environment.dataset_id,
                                                  to_string(options.environment.physics)}
                               .dump();
  return sha256_hex(std::as_bytes(std::span(text)));
}

std::filesystem::path EvaluationCache::file_of(const std::string& key) const {
  return folder_ / (key + ".json");
}

std::optional<EvaluationResult> EvaluationCache::find(const std::string& key) const {
  if (!std::filesystem::exists(file_of(key))) return std::nullopt;
  try {
    return result_from(nlohmann::ordered_json::parse(read_text_file(file_of(key))));
  } catch (const std::exception&) {
    return std::nullopt;  // to be measured anew and overwritten
  }
}

void EvaluationCache::keep(const std::string& key, const EvaluationResult& result) const {
  write_file_atomically(file_of(key), stored_form(result).dump() + "\n");
}

}  // namespace drop
