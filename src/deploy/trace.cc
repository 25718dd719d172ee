#include "drop/deploy/trace.h"

#include <ATen/ATen.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "drop/base/files.h"
#include "drop/base/system_report.h"

namespace drop {

namespace {

// values of a tensor on the host
template <class T>
std::vector<T> values_of(const at::Tensor& tensor, at::ScalarType type) {
  const at::Tensor host = tensor.to(at::kCPU, type).contiguous();
  return {host.data_ptr<T>(), host.data_ptr<T>() + host.numel()};
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& values) {
  to.insert(to.end(), values.begin(), values.end());
}

// row k of a matrix with `count` rows
template <class T>
void append_row(std::vector<std::remove_const_t<T>>& to, std::span<T> matrix, size_t count,
                size_t k) {
  const size_t width = matrix.size() / count;
  const auto row = matrix.subspan(k * width, width);
  to.insert(to.end(), row.begin(), row.end());
}

// mean return of each sub-task as the run's decomposition.json tells it; empty where the checkpoint
// does not lie in its run's folder
std::vector<double> subtask_returns(const std::filesystem::path& checkpoint, int64_t count) {
  const std::filesystem::path file =
      std::filesystem::absolute(checkpoint).parent_path().parent_path() / "decomposition.json";
  if (!std::filesystem::exists(file)) return {};
  const auto json = nlohmann::json::parse(read_text_file(file), nullptr, false);
  std::vector<double> returns;
  if (!json.is_object() || !json.contains("subtasks") || !json["subtasks"].is_array()) return {};
  for (const auto& subtask : json["subtasks"]) {
    if (!subtask.is_object() || !subtask.contains("return_mean") ||
        !subtask["return_mean"].is_number()) {
      return {};
    }
    returns.push_back(subtask["return_mean"]);
  }
  if (static_cast<int64_t>(returns.size()) != count) return {};
  return returns;
}

// a path that can be written, said before long work
std::string writable(std::string path) {
  require_writable(path);
  return path;
}

}  // namespace

TraceRecorder::TraceRecorder(std::string path, const TrainedModel& trained,
                             const std::string& checkpoint, int64_t seed)
    : writer_(writable(std::move(path))), reward_scale_(trained.origin.reward_scale) {
  const ModelOrigin& origin = trained.origin;
  writer_.set_attribute("task", origin.task);
  writer_.set_attribute("dataset", origin.dataset);
  writer_.set_attribute("checkpoint", checkpoint);
  writer_.set_attribute("step", std::to_string(origin.step));
  writer_.set_attribute("seed", std::to_string(seed));
  writer_.set_attribute("format_version", std::to_string(kTraceFormatVersion));
  writer_.set_attribute("commit", build_commit());
  writer_.add("embeddings", trained.embeddings.sizes().vec(),
              std::span<const float>(values_of<float>(trained.embeddings, at::kFloat)));
  const std::vector<double> returns = subtask_returns(checkpoint, trained.embeddings.size(0));
  if (!returns.empty()) {
    writer_.add("subtask_return_mean", {trained.embeddings.size(0)},
                std::span<const double>(returns));
  }
}

void TraceRecorder::begin(InferenceRuleKind rule) { rule_ = to_string(rule); }

void TraceRecorder::on_start(const VectorEnvironment& environments) {
  episodes_.assign(static_cast<size_t>(environments.size()), {});
  for (int64_t i = 0; i < environments.size(); ++i) {
    Episode& episode = episodes_[static_cast<size_t>(i)];
    episode.qpos = environments[i].qpos();
    episode.qvel = environments[i].qvel();
    episode.task_state = environments[i].task_state();
  }

  // the same for all rules
  const std::optional<FloorPlan> plan = environments[0].floor_plan();
  if (!begun_ && plan) {
    std::vector<double> walls;
    for (const auto& wall : plan->walls) walls.insert(walls.end(), wall.begin(), wall.end());
    writer_.add("maze_walls", {static_cast<int64_t>(plan->walls.size()), 4},
                std::span<const double>(walls));
    if (environments.info().variables.empty())
      writer_.add("goal", {2}, std::span<const double>(plan->goal));
  }
  begun_ = true;
}

void TraceRecorder::on_step(const EvaluationStep& step, const VectorEnvironment& environments) {
  const size_t count = step.episodes.size();
  const auto embeddings = values_of<float>(step.inference.embeddings, at::kFloat);
  const auto scores = values_of<float>(step.inference.scores / reward_scale_, at::kFloat);
  const auto subtasks = values_of<int64_t>(step.inference.subtasks, at::kLong);
  for (size_t k = 0; k < count; ++k) {
    const int64_t index = step.episodes[k];
    Episode& episode = episodes_[static_cast<size_t>(index)];
    if (step.step == 0) append_row(episode.states, step.states, count, k);
    append_row(episode.states, step.next_states, count, k);
    append(episode.qpos, environments[index].qpos());
    append(episode.qvel, environments[index].qvel());
    append_row(episode.actions, step.actions, count, k);
    append_row(episode.embeddings, std::span(embeddings), count, k);
    episode.rewards.push_back(step.results[k].reward);
    episode.terminated.push_back(step.results[k].terminated ? 1 : 0);
    episode.scores.push_back(scores[k]);
    episode.subtasks.push_back(subtasks[k]);
    if (step.results[k].terminated || step.results[k].truncated) {
      write(index, episode);
      episode = {};
    }
  }
}

void TraceRecorder::write(int64_t index, const Episode& episode) {
  char name[32];
  std::snprintf(name, sizeof name, "episode_%03lld", static_cast<long long>(index));
  const std::string group = rule_ + "/" + name + "/";
  const auto steps = static_cast<int64_t>(episode.rewards.size());
  const auto add = [&](const char* array, int64_t rows, const auto& values) {
    const auto width = static_cast<int64_t>(values.size()) / rows;
    writer_.add(group + array, {rows, width}, std::span(values));
  };
  const auto add_flat = [&](const char* array, const auto& values) {
    writer_.add(group + array, {static_cast<int64_t>(values.size())}, std::span(values));
  };
  add("states", steps + 1, episode.states);
  add("qpos", steps + 1, episode.qpos);
  add("qvel", steps + 1, episode.qvel);
  add("actions", steps, episode.actions);
  add("embeddings", steps, episode.embeddings);
  add_flat("rewards", episode.rewards);
  add_flat("terminated", episode.terminated);
  add_flat("scores", episode.scores);
  add_flat("subtasks", episode.subtasks);
  if (!episode.task_state.empty()) add_flat("task_state", episode.task_state);
}

void TraceRecorder::close() { writer_.close(); }

}  // namespace drop
