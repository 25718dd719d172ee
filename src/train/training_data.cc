#include "drop/train/training_data.h"

#include <ATen/ATen.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "drop/base/error.h"
#include "drop/base/text.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/dataset_id.h"
#include "drop/env/reference_scores.h"
#include "drop/log/logging.h"

namespace drop {

namespace {

at::Tensor pick_selftest_states(const TrajectoryDataset& dataset) {
  constexpr int64_t kStates = 4;
  at::Tensor states = at::empty({kStates, dataset.state_dim}, at::kFloat);
  for (int64_t i = 0; i < kStates; ++i) {
    const auto row = dataset.observation((dataset.rows - 1) * i / (kStates - 1));
    std::copy(row.begin(), row.end(), states.data_ptr<float>() + i * dataset.state_dim);
  }
  return states;
}

}  // namespace

TrainingData prepare_training_data(const Config& config) {
  // HDF5 -> TrajectoryDataset
  const DatasetSource source = find_dataset(config.dataset, config.task);
  const D4rlFileInfo info = inspect_d4rl_file(source.path);
  log().info("data: {} ({} rows, {} state and {} action dimensions, about {} in memory)",
             source.path, info.rows, info.state_dim, info.action_dim,
             human_bytes(static_cast<double>(info.memory_bytes)));
  TrainingData data;
  data.dataset = read_d4rl_file(source, {.threads = config.threads});
  const TrajectoryDataset& dataset = data.dataset;
  if (!dataset.has_timeouts && dataset.family != Family::kAdroit) {
    log().warn(
        "{}: has no `timeouts`: trajectories are split where `terminals` are set, so that episodes "
        "which the time "
        "limit ended run into the next one; prefer a version of the file that has them",
        source.path);
  }
  data.trajectories = dataset.usable_trajectories(config.decomposition.keep_unfinished);
  if (data.trajectories.empty()) {
    throw DataError(
        source.path +
        ": no finished trajectory; set decomposition.keep_unfinished: on, or use another file");
  }
  data.normaliser = fit_normaliser(dataset.observations, dataset.state_dim);
  data.selftest_states = pick_selftest_states(dataset);

  // what the scores will be compared with
  ModelOrigin& origin = data.origin;
  origin.task = config.task.empty() ? source.task : config.task;
  origin.dataset = dataset.id;
  origin.dataset_sha256 = dataset.sha256;
  origin.reward_shift =
      config.train.reward_shift.value_or(dataset.family == Family::kAntMaze ? -1.0 : 0.0);
  origin.reward_scale = config.train.reward_scale.value_or(
      auto_reward_scale(dataset, data.trajectories, config.train.discount, origin.reward_shift));
  origin.data_return_mean = 0.0;
  origin.data_length_mean = 0.0;
  origin.data_return_max = data.trajectories.front().return_sum;
  const auto count = static_cast<double>(data.trajectories.size());
  for (const Trajectory& trajectory : data.trajectories) {
    origin.data_return_mean += trajectory.return_sum / count;
    origin.data_length_mean += static_cast<double>(trajectory.length()) / count;
    origin.data_return_max = std::max(origin.data_return_max, trajectory.return_sum);
  }
  data.facts = {{"path", dataset.path},
                {"id", dataset.id},
                {"sha256", dataset.sha256},
                {"rows", dataset.rows},
                {"family", to_string(dataset.family)},
                {"trajectories", data.trajectories.size()},
                {"length_mean", origin.data_length_mean},
                {"return_mean", origin.data_return_mean},
                {"return_max", origin.data_return_max}};
  if (const auto reference = reference_score(origin.task, origin.dataset)) {
    data.facts["return_mean_normalised"] = normalised_score(origin.data_return_mean, *reference);
    data.facts["return_max_normalised"] = normalised_score(origin.data_return_max, *reference);
  }
  return data;
}

Decomposition decompose_training_data(const Config& config, const TrainingData& data,
                                      int64_t seed) {
  std::vector<double> returns;
  std::vector<int64_t> transitions;
  for (const Trajectory& trajectory : data.trajectories) {
    returns.push_back(trajectory.return_sum);
    transitions.push_back(trajectory.transitions());
  }
  // a CVAE learns from all transitions alike
  DecompositionConfig how = config.decomposition;
  if (config.model.embedding == EmbeddingKind::kCvae) {
    how.rule = DecompositionKind::kRank;
    how.num_subtasks = 1;
    how.trajectories_per_subtask = static_cast<int64_t>(data.trajectories.size());
  }
  Decomposition decomposition = decompose(how, returns, transitions, static_cast<uint64_t>(seed));
  for (const std::string& warning : decomposition.warnings) log().warn("{}", warning);
  return decomposition;
}

ModelShape model_shape(const Config& config, const Decomposition& decomposition, int64_t state_dim,
                       int64_t action_dim) {
  const bool cvae = config.model.embedding == EmbeddingKind::kCvae;
  return ModelShape::from(config.model, state_dim, action_dim,
                          cvae ? config.decomposition.num_subtasks : decomposition.num_subtasks());
}

}  // namespace drop
