#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <memory>

#include "drop/base/text.h"
#include "drop/base/timing.h"
#include "drop/env/benchmark.h"
#include "drop_bench/commands.h"

namespace drop {

namespace {

const std::vector<std::string> kDefaultTasks = {
    "hopper",       "halfcheetah",  "walker2d",           "ant",
    "maze2d-umaze", "maze2d-large", "antmaze-medium-play"};

struct EnvOptions {
  std::vector<std::string> tasks;
  std::string physics = "d4rl";
  EnvBenchmarkOptions env;
  int64_t threads = -1;  // -1: one, then all
  std::string json;
};

Json row_of(const EnvBenchmarkOptions& options, const EnvBenchmark& result,
            const std::string& engine, const std::vector<double>& seconds) {
  return {{"benchmark", "env"},
          {"engine", engine},
          {"task", options.task},
          {"device", "cpu"},
          {"threads", result.threads},
          {"precision", "fp64"},
          {"median_s", median(seconds)},
          {"min_s", *std::min_element(seconds.begin(), seconds.end())},
          {"flops", nullptr},
          {"peak_flops_per_s", nullptr},
          {"share_of_peak", median(result.mj_step_s) / median(seconds)},
          {"steps", result.steps},
          {"num_envs", options.num_envs},
          {"physics_steps", result.physics_steps},
          {"repetitions", options.repetitions},
          {"steps_per_s", static_cast<double>(result.steps) / median(seconds)}};
}

void bench_environments(EnvOptions& options) {
  // what cannot be done is said before anything is measured
  if (options.tasks.empty()) options.tasks = kDefaultTasks;
  EnvBenchmarkOptions env = options.env;
  env.environment.physics = physics_from(options.physics);
  for (const std::string& task : options.tasks)
    EnvironmentRegistry::instance().make(task, env.environment);

  Rows rows(options.json, fmt::format("{:<24} {:>8} {:>14} {:>18} {:>14}", "task", "threads",
                                      "steps/s", "bare mj_step", "share"));
  for (const std::string& task : options.tasks) {
    for (const int64_t threads : thread_counts(options.threads)) {
      env.task = task;
      env.threads = threads;
      const EnvBenchmark result = benchmark_environment(env);
      const Json drop = row_of(env, result, "drop", result.drop_s);
      const Json bare = row_of(env, result, "mj_step", result.mj_step_s);
      rows.add({drop, bare},
               fmt::format("{:<24} {:>8} {:>14.0f} {:>18.0f} {:>13.1f}%", task, result.threads,
                           drop["steps_per_s"].get<double>(), bare["steps_per_s"].get<double>(),
                           100.0 * drop["share_of_peak"].get<double>()));
    }
  }
  rows.finish();
}

}  // namespace

Command add_env(CLI::App& app) {
  const auto options = std::make_shared<EnvOptions>();
  CLI::App* command = app.add_subcommand(
      "env", "Steps of environments, beside bare calls of mj_step on the same trajectories");
  command
      ->add_option("--task", options->tasks,
                   "Tasks, comma-separated (default: " + join(kDefaultTasks) + ")")
      ->delimiter(',');
  command->add_option("--num-envs", options->env.num_envs, "Environments in lockstep")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  add_threads_option(*command, options->threads);
  command->add_option("--repetitions", options->env.repetitions, "Timed repetitions")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  command->add_option("--seconds", options->env.repetition_s, "Seconds of a repetition, about")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 60.0));
  command->add_option("--physics", options->physics, "d4rl or modern")->capture_default_str();
  add_json_option(*command, options->json);
  command->footer("Example: drop_bench env --task hopper");
  return {command, [options] { bench_environments(*options); }};
}

}  // namespace drop
