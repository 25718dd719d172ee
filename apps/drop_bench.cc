// drop_bench: how fast, beside the machine's own best in the same run.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "drop/base/files.h"
#include "drop/base/system_report.h"
#include "drop/base/text.h"
#include "drop/config/config.h"
#include "drop/env/benchmark.h"
#include "program.h"

namespace drop {

namespace {

const std::vector<std::string> kDefaultTasks = {
    "hopper",       "halfcheetah",  "walker2d",           "ant",
    "maze2d-umaze", "maze2d-large", "antmaze-medium-play"};

struct BenchOptions {
  CommonOptions common;
  std::vector<std::string> tasks;
  std::string physics = "d4rl";
  EnvBenchmarkOptions env;
  int64_t threads = -1;  // -1: one, then all
  std::string json;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

nlohmann::ordered_json row_of(const EnvBenchmarkOptions& options, const EnvBenchmark& result,
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

void bench_env(const BenchOptions& options) {
  // what cannot be done is said before anything is measured
  EnvBenchmarkOptions env = options.env;
  env.environment.physics = physics_from(options.physics);
  for (const std::string& task : options.tasks)
    EnvironmentRegistry::instance().make(task, env.environment);
  if (!options.json.empty() && options.json != "-") require_writable(options.json);

  // one thread, then all cores, unless a number is asked for
  std::vector<int64_t> thread_counts = {options.threads};
  if (options.threads < 0) {
    thread_counts = {1};
    if (available_cores() > 1) thread_counts.push_back(available_cores());
  }

  std::string lines;
  const bool for_people = options.json != "-";
  if (for_people) {
    std::printf("%-24s %8s %14s %18s %14s\n", "task", "threads", "steps/s", "bare mj_step",
                "share");
  }
  for (const std::string& task : options.tasks) {
    for (const int64_t threads : thread_counts) {
      env.task = task;
      env.threads = threads;
      const EnvBenchmark result = benchmark_environment(env);
      const auto drop = row_of(env, result, "drop", result.drop_s);
      const auto bare = row_of(env, result, "mj_step", result.mj_step_s);
      lines += drop.dump() + "\n" + bare.dump() + "\n";
      if (for_people) {
        std::printf("%-24s %8lld %14.0f %18.0f %13.1f%%\n", task.c_str(),
                    static_cast<long long>(result.threads), drop["steps_per_s"].get<double>(),
                    bare["steps_per_s"].get<double>(), 100.0 * drop["share_of_peak"].get<double>());
        std::fflush(stdout);
      }
    }
  }
  if (!for_people)
    std::fputs(lines.c_str(), stdout);
  else if (!options.json.empty())
    write_file_atomically(options.json, lines);
}

}  // namespace

}  // namespace drop

int main(int argc, char** argv) {
  drop::BenchOptions options;
  CLI::App app("Benchmarks: medians beside the machine's own best, measured in the same run.",
               "drop_bench");
  drop::add_common_options(app, options.common);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer("Example:\n  drop_bench env --task hopper");
  CLI::App* env = app.add_subcommand(
      "env", "Steps of environments, beside bare calls of mj_step on the same trajectories");
  env->add_option("--task", options.tasks,
                  "Tasks, comma-separated (default: " + drop::join(drop::kDefaultTasks) + ")")
      ->delimiter(',');
  env->add_option("--num-envs", options.env.num_envs, "Environments in lockstep")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  env->add_option("--threads", options.threads,
                  "Threads, 0 = all cores (default: one, then all cores)")
      ->check(CLI::Range(0, 100000));
  env->add_option("--repetitions", options.env.repetitions, "Timed repetitions")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  env->add_option("--seconds", options.env.repetition_s, "Seconds of a repetition, about")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 60.0));
  env->add_option("--physics", options.physics, "d4rl or modern")->capture_default_str();
  env->add_option("--json", options.json,
                  "Write one JSON object a line to a file, or to standard output with -");
  return drop::run_program(app, argc, argv, options.common, [&] {
    if (options.tasks.empty()) options.tasks = drop::kDefaultTasks;
    drop::bench_env(options);
  });
}
