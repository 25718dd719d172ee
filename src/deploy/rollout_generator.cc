#include "drop/deploy/rollout_generator.h"

#include <mujoco/mujoco.h>

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/signals.h"
#include "drop/base/system_report.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/dataset_id.h"
#include "drop/data/dataset_summary.h"
#include "drop/deploy/evaluation.h"
#include "drop/deploy/policy.h"
#include "drop/env/vector_environment.h"
#include "drop/log/progress.h"

namespace drop {

namespace {

// episodes that run in lockstep; fixed, because the size of a batch may change the last bits of the
// networks' arithmetic
constexpr int64_t kLockstep = 16;

// one step of an episode as the file will hold it
struct Row {
  std::vector<double> observation;
  std::vector<double> action;
  std::vector<double> infos;
  StepResult result;
};

// the task's arrays below infos/ in the order in which the writer wants them
std::map<std::string, int64_t> info_columns(const TaskInfo& task, const Environment& environment) {
  std::map<std::string, int64_t> columns = {
      {"infos/qpos", static_cast<int64_t>(environment.qpos().size())},
      {"infos/qvel", static_cast<int64_t>(environment.qvel().size())}};
  for (const TaskVariable& variable : task.variables) columns[variable.key] = variable.size;
  return columns;
}

std::vector<double> info_values(const std::map<std::string, int64_t>& columns, const TaskInfo& task,
                                const Environment& environment) {
  std::map<std::string, std::vector<double>> values = {{"infos/qpos", environment.qpos()},
                                                       {"infos/qvel", environment.qvel()}};
  const std::vector<double> state = environment.task_state();
  auto next = state.begin();
  for (const TaskVariable& variable : task.variables) {
    values[variable.key] = {next, next + variable.size};
    next += variable.size;
  }
  std::vector<double> row;
  for (const auto& [key, width] : columns)
    row.insert(row.end(), values[key].begin(), values[key].end());
  return row;
}

bool ends_by_timeouts(const std::string& task) {
  const Family family = family_of(task);
  return family == Family::kAntMaze || family == Family::kAdroit;
}

}  // namespace

RolloutSummary generate_rollouts(const TrainedModel& trained, const RolloutOptions& options,
                                 const std::string& path) {
  const std::string& task_name = trained.origin.task;
  // an episode has an environment of its own: an AntMaze v0 keeps its first goal
  const auto make_environments = [&](int64_t count) {
    return std::make_unique<VectorEnvironment>(task_name, options.environment, count,
                                               options.env_threads);
  };
  auto environments = make_environments(std::min(kLockstep, options.episodes));
  const TaskInfo task = environments->info();
  require_fitting_task(task, trained.model.shape().state_dim, trained.model.shape().action_dim);
  const auto state_dim = static_cast<size_t>(task.state_dim);
  const auto action_dim = static_cast<size_t>(task.action_dim);

  // provenance
  const std::map<std::string, int64_t> columns = info_columns(task, (*environments)[0]);
  std::vector<std::string> column_names;
  for (const auto& [name, width] : columns) column_names.push_back(name);
  D4rlWriter writer(path, task.state_dim, task.action_dim, columns, column_names);
  writer.set_attribute("generator", "rollouts of a DROP checkpoint");
  writer.set_attribute("task", task_name);
  writer.set_attribute("physics", to_string(options.environment.physics));
  writer.set_attribute("policy", options.policy_file);
  writer.set_attribute("policy_dataset", trained.origin.dataset);
  writer.set_attribute("policy_dataset_sha256", trained.origin.dataset_sha256);
  writer.set_attribute("policy_step", trained.origin.step);
  writer.set_attribute("rule", to_string(options.rule));
  writer.set_attribute("noise", options.noise);
  writer.set_attribute("epsilon", options.epsilon);
  writer.set_attribute("episodes", options.episodes);
  writer.set_attribute("seed", static_cast<int64_t>(options.seed));
  writer.set_attribute("mujoco_version", std::string(mj_versionString()));
  writer.set_attribute("drop_version", project_version());

  Policy policy(trained, options.search, options.rule);
  Progress progress("generate " + task_name, options.episodes, options.quiet);
  RolloutSummary summary;
  std::vector<double> returns;
  for (int64_t first = 0; first < options.episodes; first += kLockstep) {
    // the next episodes, each from streams of its own number
    const int64_t count = std::min(kLockstep, options.episodes - first);
    if (first > 0) environments = make_environments(count);
    std::vector<std::vector<Row>> episodes(static_cast<size_t>(count));
    std::vector<std::vector<double>> observations(static_cast<size_t>(count),
                                                  std::vector<double>(state_dim));
    std::vector<RandomStream> noise;
    for (int64_t i = 0; i < count; ++i) {
      RandomStream start(options.seed, "env", static_cast<uint64_t>(first + i));
      (*environments)[i].reset(start, observations[static_cast<size_t>(i)]);
      noise.emplace_back(options.seed, "generate", static_cast<uint64_t>(first + i));
    }
    policy.begin(count, options.seed, static_cast<uint64_t>(first));

    std::vector<int64_t> running(static_cast<size_t>(count));
    std::iota(running.begin(), running.end(), int64_t{0});
    while (!running.empty()) {
      if (stop_requested()) {
        throw Interrupted("stopped by a signal after " + std::to_string(first) + " of " +
                          std::to_string(options.episodes) + " episodes; " + path +
                          " was not written, run the command again");
      }

      // actions, disturbed, and rounded as the file will hold them
      std::vector<double> states;
      for (const int64_t i : running) {
        const std::vector<double>& observation = observations[static_cast<size_t>(i)];
        states.insert(states.end(), observation.begin(), observation.end());
      }
      std::vector<double> actions = policy.act(running, states);
      for (size_t k = 0; k < running.size(); ++k) {
        RandomStream& rng = noise[static_cast<size_t>(running[k])];
        const bool is_random = rng.uniform() < options.epsilon;
        for (size_t a = 0; a < action_dim; ++a) {
          double& action = actions[k * action_dim + a];
          const double disturbed = action + options.noise * rng.normal();
          action =
              as_float32(is_random ? rng.uniform(-1.0, 1.0) : std::clamp(disturbed, -1.0, 1.0));
        }
      }

      // what the file says of the step is the state before it
      for (size_t k = 0; k < running.size(); ++k) {
        Row row;
        row.observation = observations[static_cast<size_t>(running[k])];
        row.action.assign(actions.begin() + static_cast<int64_t>(k * action_dim),
                          actions.begin() + static_cast<int64_t>((k + 1) * action_dim));
        row.infos = info_values(columns, task, (*environments)[running[k]]);
        episodes[static_cast<size_t>(running[k])].push_back(std::move(row));
      }
      std::vector<double> next(states.size());
      std::vector<StepResult> results(running.size());
      environments->step(running, actions, next, results);
      std::vector<int64_t> still_running;
      for (size_t k = 0; k < running.size(); ++k) {
        const auto i = static_cast<size_t>(running[k]);
        episodes[i].back().result = results[k];
        std::copy_n(next.begin() + static_cast<int64_t>(k * state_dim), state_dim,
                    observations[i].begin());
        if (!results[k].terminated && !results[k].truncated) still_running.push_back(running[k]);
      }
      running = std::move(still_running);
    }

    // whole episodes, in their order
    for (const std::vector<Row>& episode : episodes) {
      double total = 0.0;
      for (const Row& row : episode) {
        const bool is_last = &row == &episode.back();
        const bool timeout = row.result.truncated || (is_last && ends_by_timeouts(task_name));
        writer.append(row.observation, row.action, row.result.reward, row.result.terminated,
                      timeout, row.infos);
        total += row.result.reward;
      }
      summary.rows += static_cast<int64_t>(episode.size());
      returns.push_back(total);
    }
    progress.update(first + count);
  }
  progress.finish();
  writer.close();

  const Spread spread = spread_of(returns);
  summary.return_mean = spread.mean;
  summary.return_std = spread.std;
  return summary;
}

}  // namespace drop
