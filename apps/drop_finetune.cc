// drop_finetune: improve a trained run with a few episodes in its task.

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/base/signals.h"
#include "drop/config/config.h"
#include "drop/data/dataset_id.h"
#include "drop/deploy/finetune.h"
#include "drop/nn/runtime.h"
#include "program.h"

namespace drop {
namespace {

struct Arguments {
  FinetuneOptions finetune;
  std::string run, level, rule, json;
  std::string device = "auto";
  std::string precision = "auto";
  int64_t network_threads = 0;
  int64_t env_steps = 0;  // 0 = no limit
  CommonOptions common;
};

// what the result must not be written over: the run, its data, what other fine-tunings left and
// what this one keeps beside its result
std::vector<std::filesystem::path> files_of_run(const FinetuneOptions& options) {
  std::vector<std::filesystem::path> files;
  for (const char* name : {"config.yaml", "provenance.json", "metrics.csv", "decomposition.json",
                           "train.log", "status.json", "run.lock"})
    files.push_back(options.run / name);
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator(options.run / "checkpoints", ignored))
    files.push_back(entry.path());
  for (const FinetuneLevel level :
       {FinetuneLevel::kCheckpoint, FinetuneLevel::kEmbedding, FinetuneLevel::kParametric}) {
    for (const InferenceRuleKind rule : SearchConfig{}.rules) {
      const std::string name = to_string(level) + "-" + to_string(rule);
      files.push_back(options.run / "finetune" / (name + ".trials.json"));
      if (level != options.level || rule != options.rule)
        files.push_back(options.run / "finetune" / (name + ".json"));
    }
  }
  try {
    const std::string config = (options.run / "config.yaml").string();
    files.emplace_back(find_dataset(load_config(config).dataset).path);
  } catch (const Error&) {
    // without the data, nothing can be written over them
  }
  return files;
}

void run(Arguments& arguments) {
  FinetuneOptions& options = arguments.finetune;
  options.run = arguments.run;
  options.level = finetune_level_from(arguments.level);
  const bool picks_checkpoint = options.level == FinetuneLevel::kCheckpoint;
  options.rule = arguments.rule.empty()
                     ? (picks_checkpoint ? InferenceRuleKind::kBest : InferenceRuleKind::kGradAda)
                     : inference_rule_from(arguments.rule);
  if (arguments.env_steps > 0) options.env_steps = arguments.env_steps;
  if (!std::filesystem::is_directory(options.run)) {
    throw DataError(options.run.string() +
                    ": no such run folder; give the --out folder of drop_train");
  }
  require_output(arguments.json, files_of_run(options));
  const Runtime runtime =
      configure_runtime(device_from(arguments.device), precision_from(arguments.precision),
                        arguments.network_threads);
  options.device = runtime.device;
  options.precision = runtime.precision;
  options.quiet = arguments.common.quiet;

  install_stop_handlers();
  create_folders(options.run / "finetune");
  const FolderLock lock(options.run / "finetune");
  remove_leftovers(options.run / "finetune");
  const FinetuneResult result = finetune(options);

  const std::string text = json_text(to_json(result));
  if (arguments.json == "-") {
    std::fputs(text.c_str(), stdout);
    return;
  }
  std::fputs(format_finetune(result).c_str(), stdout);
  if (!arguments.json.empty()) write_file_atomically(arguments.json, text);
}

}  // namespace
}  // namespace drop

int main(int argc, char** argv) {
  drop::Arguments arguments;
  drop::FinetuneOptions& options = arguments.finetune;
  CLI::App app(
      "Fine-tune a run online, by episodes in its task: choose a checkpoint, or a checkpoint and a "
      "number of ascent steps, or train on. Interrupted, it goes on where it was.",
      "drop_finetune");
  app.add_option("--run", arguments.run, "A run's folder")->required();
  app.add_option(
         "--level", arguments.level,
         "checkpoint (Algorithm 3: one of the last T), embedding (Algorithm 4: that, and the "
         "ascent steps) or parametric (train on, online)")
      ->required();
  app.add_option("--rule", arguments.rule,
                 "Rule of the trials (default: best at checkpoint level, grad-ada at the "
                 "others)");
  app.add_option("--last", options.last, "T, newest checkpoints to try")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--max-ascent-steps", options.max_ascent_steps, "K_max of the embedding level")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--ascent-steps-every", options.ascent_steps_every,
                 "Try only multiples of this number of ascent steps")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--trial-episodes", options.trial_episodes,
                 "Episodes of each trial; all trials begin at the same start states")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--episodes", options.episodes,
                 "Fresh episodes on which start and choice are compared; not counted as spent")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option(
         "--env-steps", arguments.env_steps,
         "Begin no trial once so many environment steps are spent (0 = no limit); parametric: "
         "train so long (0 = the paper's 700,000)")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--saves", options.saves, "Parametric: checkpoints on the way, each of them tried")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--noise", options.noise,
                 "Parametric: standard deviation of the noise on training episodes' actions")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 10.0));
  app.add_option("--improvement", options.improvement,
                 "Parametric: weight of policy improvement beside the behaviour loss")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--seed", options.seed, "Seed of start states and sampled actions")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--json", arguments.json,
                 "Write the result to this file too, or to standard output with -");
  app.add_option("--device", arguments.device, "auto, cpu or cuda")->capture_default_str();
  app.add_option("--precision", arguments.precision,
                 "Products of the ascents: auto, fp32, tf32 (CUDA) or bf16; scores are float32")
      ->capture_default_str();
  app.add_option("--threads", options.env_threads,
                 "Threads that step the environments, 0 = all cores; the results are the same")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  app.add_option("--network-threads", arguments.network_threads,
                 "Threads of the networks' arithmetic, 0 = all cores")
      ->capture_default_str()
      ->check(CLI::Range(0, 100000));
  drop::add_common_options(app, arguments.common);
  app.footer(
      "The result stands in RUN/finetune/LEVEL-RULE.json.\nExample:\n  drop_finetune --run "
      "runs/hopper --level embedding --rule grad-ada");
  return drop::run_program(app, argc, argv, arguments.common, [&] { drop::run(arguments); });
}
