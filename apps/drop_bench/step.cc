#include <memory>

#include "drop/train/benchmark.h"
#include "drop/train/step_flops.h"
#include "drop_bench/commands.h"

namespace drop {

namespace {

const std::vector<std::string> kEngines = {"eager", "fused", "graph"};

StepEngineKind engine_from(const std::string& name) {
  for (const auto kind : {StepEngineKind::kFused, StepEngineKind::kGraph}) {
    if (to_string(kind) == name) return kind;
  }
  return StepEngineKind::kEager;
}

struct StepOptions {
  EngineOptions engines;
  int64_t batch_size = 1024;
  int64_t num_seeds = 1;
  std::string constraint;  // empty = both
};

void bench_steps(StepOptions& options) {
  Rows rows(options.engines.json, engine_heading("step"));
  for_each_engine(options.engines, kEngines, [&](const Runtime& runtime, const std::string& name) {
    for (const std::string constraint : {"active", "inactive"}) {
      if (!options.constraint.empty() && options.constraint != constraint) continue;
      const bool active = constraint == "active";
      const ModelShape& shape = options.engines.shape;
      const BenchmarkTimes times = benchmark_step(runtime, {.engine = engine_from(name),
                                                            .shape = shape,
                                                            .batch_size = options.batch_size,
                                                            .num_seeds = options.num_seeds,
                                                            .constraint_active = active,
                                                            .plan = options.engines.plan});
      const auto num_seeds = static_cast<double>(options.num_seeds);
      const double flops = num_seeds * step_flops(shape, options.batch_size, active);
      Json row = engine_row("step", name, runtime, times, flops);
      row["seed_steps_per_s"] = num_seeds * row["steps_per_s"].get<double>();
      row["constraint"] = constraint;
      row["batch_size"] = options.batch_size;
      row["hidden_width"] = shape.hidden_width;
      row["state_dim"] = shape.state_dim;
      row["action_dim"] = shape.action_dim;
      row["embedding_dim"] = shape.embedding_dim;
      row["num_subtasks"] = shape.num_subtasks;
      row["num_seeds"] = options.num_seeds;
      rows.add({row}, engine_line(row, active ? "" : "  constraint satisfied"));
    }
  });
  rows.finish();
}

}  // namespace

Command add_step(CLI::App& app) {
  const auto options = std::make_shared<StepOptions>();
  CLI::App* command = app.add_subcommand(
      "step", "Training steps on random data, beside a bare matrix product of this machine");
  add_engine_options(*command, options->engines, kEngines);
  command->add_option("--batch-size", options->batch_size, "Rows of a mini-batch")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000000));
  command->add_option("--num-seeds", options->num_seeds, "Seeds trained at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--num-subtasks", options->engines.shape.num_subtasks, "Sub-tasks N")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command
      ->add_option("--constraint", options->constraint,
                   "active: C sends gradients (the whole work); inactive: it is satisfied "
                   "(default: both)")
      ->check(CLI::IsMember({"active", "inactive"}));
  command->footer("Example: drop_bench step --device cpu --threads 1");
  return {command, [options] { bench_steps(*options); }};
}

}  // namespace drop
