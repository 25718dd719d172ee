#include "drop/deploy/evaluation_cache.h"

#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/base/sha256.h"

namespace drop {

namespace {

// what is not in an eval/*.json, but in a result
constexpr const char* kMaxEpisodeSteps = "max_episode_steps";
constexpr const char* kWallTime = "wall_time_s";

// back from `to_json` and the two above; throws for anything else
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
    result.episodes.push_back({episode.at("return").get<double>(),
                               episode.at("length").get<int64_t>(),
                               episode.at("terminated").get<bool>()});
  }
  if (const auto& reference = json.at("reference"); !reference.is_null()) {
    result.reference = {reference.at("random").get<double>(), reference.at("expert").get<double>(),
                        reference.at("source").get<std::string>()};
  }
  const auto& data = json.at("data_return");
  data.at("mean").get_to(result.data_return_mean);
  data.at("max").get_to(result.data_return_max);
  data.at("length_mean").get_to(result.data_length_mean);
  json.at(kMaxEpisodeSteps).get_to(result.max_episode_steps);
  json.at(kWallTime).get_to(result.wall_time_s);
  return result;
}

// this program's bytes: a commit would not tell what was changed after it
const std::string& program_sha256() {
  static const std::string hash = sha256_of_file("/proc/self/exe");
  return hash;
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

std::string EvaluationCache::key(const std::string& checkpoint_sha256, const at::Device& device,
                                 const EvaluationOptions& options) {
  Config settings;
  settings.search = options.search;
  const std::string text =
      json_text({program_sha256(), checkpoint_sha256, to_yaml(settings), to_string(options.rule),
                 to_string(options.precision), device.str(), options.episodes, options.seed,
                 options.environment.dataset_id, to_string(options.environment.physics)});
  return sha256_hex(std::as_bytes(std::span(text)));
}

std::filesystem::path EvaluationCache::file_of(const std::string& key) const {
  return folder_ / (key + ".json");
}

std::optional<EvaluationResult> EvaluationCache::find(const std::string& key,
                                                      const EvaluationOptions& options) const {
  if (!std::filesystem::exists(file_of(key))) return std::nullopt;
  try {
    EvaluationResult result =
        result_from(nlohmann::ordered_json::parse(read_text_file(file_of(key))));
    result.search = options.search;  // which the key stands for
    result.physics = options.environment.physics;
    return result;
  } catch (const std::exception&) {
    return std::nullopt;  // to be measured anew and overwritten
  }
}

void EvaluationCache::keep(const std::string& key, const EvaluationResult& result) const {
  nlohmann::ordered_json json = to_json(result);
  json[kMaxEpisodeSteps] = result.max_episode_steps;
  json[kWallTime] = result.wall_time_s;
  write_file_atomically(file_of(key), json_text(json));
}

}  // namespace drop
