#include "drop/train/training_data.h"

#include <ATen/ATen.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "drop/base/error.h"
#include "drop/base/text.h"
#include "drop/data/d4rl_checksums.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/dataset_id.h"
#include "drop/data/hdf5.h"
#include "drop/env/environment.h"
#include "drop/env/reference_scores.h"
#include "drop/log/logging.h"

namespace drop {

namespace {

// Adam squares gradients, which are products of what training sees: larger ones would leave float32
constexpr double kLargestAction = 1e6;
constexpr double kLargestReward = 1e32;         // raw; returns and scores of it are float32 too
constexpr double kSmallestRewardScale = 1e-35;  // scores of order 1, divided by it, are float32
constexpr double kUsualReward = 1e3;            // scaled; a warning above
constexpr double kUsualAction = 1.001;          // a warning above

at::Tensor pick_selftest_states(const TrajectoryDataset& dataset) {
  constexpr int64_t kStates = 4;
  at::Tensor states = at::empty({kStates, dataset.state_dim}, at::kFloat);
  for (int64_t i = 0; i < kStates; ++i) {
    const auto row = dataset.observation((dataset.rows - 1) * i / (kStates - 1));
    std::copy(row.begin(), row.end(), states.data_ptr<float>() + i * dataset.state_dim);
  }
  return states;
}

// the value of the largest magnitude, and where it stands
struct Extreme {
  double magnitude = 0.0;
  int64_t index = 0;
};

template <typename Number>
Extreme extreme_of(const std::vector<Number>& values, double shift = 0.0) {
  Extreme extreme;
  for (size_t i = 0; i < values.size(); ++i) {
    const double magnitude = std::abs(static_cast<double>(values[i]) + shift);
    if (magnitude > extreme.magnitude) extreme = {magnitude, static_cast<int64_t>(i)};
  }
  return extreme;
}

void require_at_most(const Extreme& extreme, double largest, int64_t width, const char* key,
                     const std::string& path) {
  if (extreme.magnitude <= largest) return;
  throw DataError(path + ": key '" + key + "' row " + std::to_string(extreme.index / width) +
                  " holds a value of magnitude " + shortest(extreme.magnitude) +
                  "; allowed are magnitudes up to " + shortest(largest) +
                  "; rescale or mend the values in the file");
}

// scores in raw units are float32
void require_usable_scale(const Config& config, const TrainingData& data) {
  const double scale = data.origin.reward_scale;
  if (scale >= kSmallestRewardScale) return;
  const std::string found = "found " + shortest(scale) + "; allowed are scales from " +
                            shortest(kSmallestRewardScale) + "; ";
  if (config.train.reward_scale)
    throw UsageError("train.reward_scale: " + found + "set train.reward_scale: auto");
  throw DataError(data.dataset.path + ": train.reward_scale: auto: " + found +
                  "rescale the rewards in the file");
}

// data that can be trained on, but hardly as its owner means it
void warn_of_odd_data(const Config& config, const TrainingData& data, const Extreme& action,
                      double largest_reward) {
  const TrajectoryDataset& dataset = data.dataset;
  const ModelOrigin& origin = data.origin;
  const double largest_scaled = origin.reward_scale * largest_reward;
  // `auto` ends here: 1 / the smallest return that it looks at
  const bool no_return = !config.train.reward_scale && origin.reward_scale > 0.999e8;
  if (config.train.score && no_return && largest_scaled <= 1.0) {
    log().warn(
        "{}: every discounted return is 0 or as good as 0 (rewards of at most {:.3g}): scores have "
        "nothing to learn, and the inference rules cannot rank sub-tasks. Cure: look at the "
        "rewards (drop_data inspect), or learn the behaviour alone (train.score: off)",
        dataset.path, largest_reward);
  } else if (config.train.score && largest_scaled > kUsualReward) {
    log().warn(
        "{}: the reward scale {:.3g} takes rewards to {:.3g}, where scores of order 1 train best. "
        "Cure: train.reward_scale: {:.3g}",
        dataset.path, origin.reward_scale, largest_scaled, 1.0 / largest_reward);
  }
  if (action.magnitude > kUsualAction) {
    log().warn(
        "{}: actions reach {:.3g} (row {}); the policy's lie within [-1, 1] and cannot fit them. "
        "Cure: scale the file's actions to [-1, 1]",
        dataset.path, action.magnitude, action.index / dataset.action_dim);
  }
  const auto differs = [&](const Trajectory& trajectory) {
    return trajectory.return_sum != data.trajectories.front().return_sum;
  };
  if (data.trajectories.size() > 1 && config.decomposition.rule == DecompositionKind::kRank &&
      std::none_of(data.trajectories.begin(), data.trajectories.end(), differs)) {
    log().warn(
        "{}: all {} trajectories have the return {:.3g}: ranks say nothing, and sub-tasks follow "
        "the file's order",
        dataset.path, data.trajectories.size(), origin.data_return_max);
  }
  const auto constant = std::count(data.normaliser.std.begin(), data.normaliser.std.end(),
                                   static_cast<float>(kStdOffset));
  if (constant > 0) {
    log().info(
        "data: {} of {} state dimensions never change: they are 0 in training, and a change when "
        "acting counts {:g} times",
        constant, dataset.state_dim, 1.0 / kStdOffset);
  }
}

// a task's name without what changes rewards, starts and goals alone: data of one such task may be
// meant for another
std::string body_and_place(const std::string& task) {
  std::string rest;
  for (const std::string& part : split(task, '-')) {
    if (part != "dense" && part != "eval" && part != "play" && part != "diverse")
      rest.append("-").append(part);
  }
  return rest;
}

// a file that tells its task, by an attribute or by D4RL's name, must be of the one that is trained
// for. Where it does not, its sizes are all that can be compared
void require_same_task(const DatasetSource& source, const std::string& task) {
  const auto refuse_other = [&](const std::string& recorded, const std::string& told_by,
                                const std::string& otherwise) {
    if (task.empty() || body_and_place(recorded) == body_and_place(task)) return;
    throw DataError(source.path + ": " + told_by + " is " + recorded + ", the config's task is " +
                    task + "; set task: " + recorded + ", use another file, or " + otherwise);
  };
  if (const auto recorded = read_hdf5_text_attribute(source.path, "task");
      recorded && EnvironmentRegistry::instance().contains(*recorded))
    refuse_other(*recorded, "attribute 'task'", "remove the attribute if that is meant");
  if (const std::string known = task_of_dataset_id(source.id); !known.empty())
    refuse_other(known, "the task of D4RL's " + source.id, "give a file of your own another name");
}

// no array of a data file has a hash of its own: the file's is all that can tell a changed value
void warn_of_another_hash(const TrajectoryDataset& dataset) {
  const std::string name = std::filesystem::path(dataset.path).filename().string();
  const FileIdentity known = known_identity(name);
  if (known.sha256.empty() || known.sha256 == dataset.sha256) return;
  log().warn(
      "{}: its SHA-256 is {}, that of the known file of this name {}{}. Cure: drop_data verify; "
      "fetch it again, or give a file of your own another name",
      dataset.path, dataset.sha256, known.sha256, other_upload_remark(name));
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
  data.origin.task = config.task.empty() ? source.task : config.task;
  require_same_task(source, data.origin.task);
  data.dataset = read_d4rl_file(source, {.threads = config.threads});
  const TrajectoryDataset& dataset = data.dataset;
  warn_of_another_hash(dataset);
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
  const Extreme action = extreme_of(dataset.actions);
  require_at_most(extreme_of(dataset.rewards), kLargestReward, 1, "rewards", source.path);
  require_at_most(action, kLargestAction, dataset.action_dim, "actions", source.path);
  data.normaliser = fit_normaliser(dataset.observations, dataset.state_dim);
  data.selftest_states = pick_selftest_states(dataset);

  // what the scores will be compared with
  ModelOrigin& origin = data.origin;
  origin.dataset = dataset.id;
  origin.dataset_sha256 = dataset.sha256;
  origin.reward_shift =
      config.train.reward_shift.value_or(dataset.family == Family::kAntMaze ? -1.0 : 0.0);
  origin.reward_scale = config.train.reward_scale.value_or(
      auto_reward_scale(dataset, data.trajectories, config.train.discount, origin.reward_shift));
  const double largest_reward = extreme_of(dataset.rewards, origin.reward_shift).magnitude;
  require_usable_scale(config, data);
  data.largest_score = origin.reward_scale * largest_reward / (1.0 - config.train.discount);
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
  warn_of_odd_data(config, data, action, largest_reward);
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
  try {
    Decomposition decomposition = decompose(how, returns, transitions, static_cast<uint64_t>(seed));
    for (const std::string& warning : decomposition.warnings) log().warn("{}", warning);
    return decomposition;
  } catch (const DataError& error) {
    throw DataError(data.facts.at("path").get<std::string>() + ": " + error.what());
  }
}

ModelShape model_shape(const Config& config, const Decomposition& decomposition, int64_t state_dim,
                       int64_t action_dim) {
  const bool cvae = config.model.embedding == EmbeddingKind::kCvae;
  return ModelShape::from(config.model, state_dim, action_dim,
                          cvae ? config.decomposition.num_subtasks : decomposition.num_subtasks());
}

}  // namespace drop
