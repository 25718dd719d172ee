#include "drop/train/run_folder.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "drop/base/error.h"
#include "drop/base/json.h"
#include "drop/log/logging.h"

namespace drop {

namespace {

constexpr const char* kPrefix = "step_";
constexpr const char* kSuffix = ".safetensors";

std::string step_name(int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "%s%09lld", kPrefix, static_cast<long long>(step));
  return name;
}

// what distinguishes runs of one data set at a glance
std::string variant_of(const Config& config) {
  std::string variant = config.model.embedding == EmbeddingKind::kCvae ? "drop-cvae" : "drop";
  if (!config.train.score) return "bc";
  if (!config.train.conservative) variant += "-naive";
  if (config.decomposition.rule != DecompositionKind::kRank)
    variant.append("-").append(to_string(config.decomposition.rule));
  return variant;
}

}  // namespace

std::filesystem::path checkpoint_path(const std::filesystem::path& run, int64_t step) {
  return run / "checkpoints" / (step_name(step) + kSuffix);
}

std::filesystem::path coms_path(const std::filesystem::path& run) {
  return run / "coms.safetensors";
}

std::vector<int64_t> checkpoint_steps(const std::filesystem::path& run) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(run / "checkpoints", error)) {
    const std::string name = entry.path().filename().string();
    long long step = 0;
    int length = 0;
    // the whole name must match, which leaves temporary and training files out
    if (std::sscanf(name.c_str(), "step_%lld.safetensors%n", &step, &length) == 1 &&
        length == static_cast<int>(name.size()) && step >= 0) {
      steps.push_back(step);
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::filesystem::path RunFolder::default_path(const Config& config, const std::string& dataset_id,
                                              int64_t seed) {
  return std::filesystem::path("runs") / config.name / dataset_id / variant_of(config) /
         ("seed_" + std::to_string(seed));
}

bool RunFolder::holds_run(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path / "config.yaml", ignored) ||
         std::filesystem::exists(path / "status.json", ignored) || !checkpoint_steps(path).empty();
}

RunFolder::RunFolder(std::filesystem::path path) : path_(std::move(path)) {
  create_folders(path_);
  lock_ = std::make_unique<FolderLock>(path_);
  if (!lock_->held()) {
    log().warn(
        "{}: this file system has no locks: nothing keeps a second trainer out. Cure: never train "
        "twice into one folder, or use a local disk",
        path_.string());
  }
  create_folders(path_ / "checkpoints");
  create_folders(evaluations());
  // what killed processes had not finished
  for (const std::filesystem::path& folder : {path_, path_ / "checkpoints", evaluations()})
    remove_leftovers(folder);
}

std::filesystem::path RunFolder::checkpoint(int64_t step) const {
  return checkpoint_path(path_, step);
}

std::filesystem::path RunFolder::training_file(int64_t step) const {
  return path_ / "checkpoints" / (step_name(step) + ".training" + kSuffix);
}

void RunFolder::write_status(const RunStatus& status) const {
  nlohmann::ordered_json json = {{"state", status.state},
                                 {"step", status.step},
                                 {"steps_per_second", status.steps_per_second},
                                 {"eta_s", status.eta_s}};
  if (!status.interim_steps.empty()) json["interim_steps"] = status.interim_steps;
  write_file_atomically(path_ / "status.json", json_text(json));
}

std::optional<RunStatus> read_run_status(const std::filesystem::path& run) {
  if (!std::filesystem::exists(run / "status.json")) return std::nullopt;
  const auto json = nlohmann::json::parse(read_text_file(run / "status.json"), nullptr,
                                          /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("state") || !json["state"].is_string() ||
      !json.contains("step") || !json["step"].is_number_integer()) {
    return std::nullopt;  // only a report; the checkpoints decide where a run stands
  }
  RunStatus status;
  status.state = json["state"].get<std::string>();
  status.step = json["step"].get<int64_t>();
  if (json.contains("interim_steps") && json["interim_steps"].is_array()) {
    for (const auto& interim : json["interim_steps"]) {
      if (interim.is_number_integer()) status.interim_steps.push_back(interim.get<int64_t>());
    }
  }
  return status;
}

void RunFolder::set_aside(int64_t step) const {
  for (const std::filesystem::path& file : {training_file(step), checkpoint(step)}) {
    std::error_code ignored;
    std::filesystem::rename(file, file.string() + ".bad", ignored);
  }
}

void RunFolder::rotate_checkpoints(int64_t keep) const {
  std::vector<int64_t> steps = checkpoint_steps(path_);
  std::erase(steps, 0);
  for (size_t i = 0; i + static_cast<size_t>(keep) < steps.size(); ++i) {
    remove_checkpoint(steps[i]);
  }
}

void RunFolder::remove_checkpoint(int64_t step) const {
  // the training half first: a crash in between leaves a checkpoint that can still act
  std::error_code ignored;
  std::filesystem::remove(training_file(step), ignored);
  std::filesystem::remove(checkpoint(step), ignored);
}

std::vector<std::filesystem::path> checkpoints_at(const std::filesystem::path& path, int64_t last) {
  std::error_code problem;
  const auto status = std::filesystem::status(path, problem);
  if (!std::filesystem::exists(status)) {
    throw DataError(path.string() +
                    ": no such checkpoint or run folder; give a .safetensors file or the --out "
                    "folder of drop_train");
  }
  if (!std::filesystem::is_directory(status)) return {path};
  std::vector<int64_t> steps = checkpoint_steps(path);
  if (steps.empty()) {
    throw DataError(
        path.string() +
        ": this folder holds no checkpoint (looked for checkpoints/step_*.safetensors)");
  }
  if (steps.size() > 1) std::erase(steps, 0);
  const auto kept = static_cast<int64_t>(steps.size());
  if (kept < last) {
    log().warn("{}: {} checkpoints were asked for, the run has kept {}", path.string(), last, kept);
  }
  std::vector<std::filesystem::path> found;
  for (int64_t i = std::max<int64_t>(0, kept - last); i < kept; ++i)
    found.push_back(checkpoint_path(path, steps[static_cast<size_t>(i)]));
  return found;
}

}  // namespace drop
