#include <memory>

#include "drop/search/ascent_flops.h"
#include "drop/search/benchmark.h"
#include "drop_bench/commands.h"

namespace drop {

namespace {

const std::vector<std::string> kEngines = {"autograd", "cpu", "cuda"};

AscentEngineKind engine_from(const std::string& name) {
  for (const auto kind : {AscentEngineKind::kCpu, AscentEngineKind::kCuda}) {
    if (to_string(kind) == name) return kind;
  }
  return AscentEngineKind::kAutograd;
}

struct AscentBenchOptions {
  EngineOptions engines;
  int64_t num_starts = 100;
  int64_t ascent_steps = 100;
  int64_t num_envs = 1;
};

void bench_ascents(AscentBenchOptions& options) {
  Rows rows(options.engines.json, engine_heading("ascent"));
  for_each_engine(options.engines, kEngines, [&](const Runtime& runtime, const std::string& name) {
    const ModelShape& shape = options.engines.shape;
    const BenchmarkTimes times = benchmark_ascent(runtime, {.engine = engine_from(name),
                                                            .shape = shape,
                                                            .num_states = options.num_envs,
                                                            .num_starts = options.num_starts,
                                                            .ascent_steps = options.ascent_steps,
                                                            .plan = options.engines.plan});
    const double flops =
        ascent_flops(shape, options.num_envs, options.num_starts, options.ascent_steps);
    Json row = engine_row("ascent", name, runtime, times, flops);
    row["num_starts"] = options.num_starts;
    row["ascent_steps"] = options.ascent_steps;
    row["num_envs"] = options.num_envs;
    row["hidden_width"] = shape.hidden_width;
    row["state_dim"] = shape.state_dim;
    row["action_dim"] = shape.action_dim;
    row["embedding_dim"] = shape.embedding_dim;
    rows.add({row}, engine_line(row, ""));
  });
  rows.finish();
}

}  // namespace

Command add_ascent(CLI::App& app) {
  const auto options = std::make_shared<AscentBenchOptions>();
  CLI::App* command = app.add_subcommand(
      "ascent", "Gradient ascents in the embedding space, beside a bare matrix product");
  add_engine_options(*command, options->engines, kEngines);
  command->add_option("--num-starts", options->num_starts, "Starts N at each state")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000000));
  command->add_option("--ascent-steps", options->ascent_steps, "Ascent steps K")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--num-envs", options->num_envs, "States E, each with N starts")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->footer("Example: drop_bench ascent --num-starts 1000");
  return {command, [options] { bench_ascents(*options); }};
}

}  // namespace drop
