// drop_infer: what the inference rules choose at given states.

#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/config/config.h"
#include "drop/data/hdf5.h"
#include "drop/deploy/policy.h"
#include "drop/nn/checkpoint.h"
#include "drop/nn/runtime.h"
#include "program.h"

namespace drop {
namespace {

struct InferOptions {
  std::string checkpoint;
  std::string states;
  std::string out;
  std::string rules;
  std::string device = "auto";
  std::string precision = "auto";
  CommonOptions common;
};

// states [S, state_dim], raw, checked row by row
at::Tensor read_states(const std::string& path, int64_t state_dim) {
  const Hdf5Array array = read_hdf5_array(path, "states");
  if (array.shape.size() != 2 || array.shape[1] != state_dim || array.shape[0] < 1) {
    std::string shape;
    for (const int64_t extent : array.shape)
      shape += (shape.empty() ? "" : ", ") + std::to_string(extent);
    throw DataError(path + ": states: found shape [" + shape +
                    "], the checkpoint asks for [rows, " + std::to_string(state_dim) + "]");
  }
  for (size_t i = 0; i < array.values.size(); ++i) {
    // as float32, which is what the networks take
    if (!std::isfinite(static_cast<float>(array.values[i]))) {
      throw DataError(path + ": states: row " + std::to_string(i / static_cast<size_t>(state_dim)) +
                      " is not finite in float32; remove it");
    }
  }
  return at::tensor(array.values, at::kDouble).view({array.shape[0], state_dim}).to(at::kFloat);
}

void run(const InferOptions& options) {
  require_output(options.out, {options.checkpoint, options.states});
  const Runtime runtime =
      configure_runtime(device_from(options.device), precision_from(options.precision), 0);
  const TrainedModel trained = load_checkpoint(options.checkpoint, runtime.device);
  const SearchConfig& search = trained.origin.config.search;
  const std::vector<InferenceRuleKind> rules =
      options.rules.empty() ? search.rules : inference_rules_from(options.rules);
  const at::Tensor states =
      read_states(options.states, trained.model.shape().state_dim).to(runtime.device);

  // each row is a state of its own: the rules that act on s_0 treat it as s_0
  Hdf5ResultWriter writer(options.out);
  for (const InferenceRuleKind kind : rules) {
    Policy policy(trained, search, kind, runtime.precision);
    const Inference inference = policy.infer(states);
    const at::Tensor actions = policy.mean_actions(states, inference.embeddings);
    const at::Tensor scores = inference.scores / trained.origin.reward_scale;  // raw reward units
    const auto add = [&](const std::string& name, const at::Tensor& tensor) {
      const at::Tensor host = tensor.cpu().to(at::kFloat).contiguous();
      writer.add(to_string(kind) + "/" + name, host.sizes().vec(),
                 std::span<const float>(host.data_ptr<float>(), static_cast<size_t>(host.numel())));
    };
    add("embedding", inference.embeddings);
    add("score", scores);
    add("action", actions);
    const at::Tensor subtasks = inference.subtasks.cpu().contiguous();
    writer.add(to_string(kind) + "/subtask", subtasks.sizes().vec(),
               std::span<const int64_t>(subtasks.data_ptr<int64_t>(),
                                        static_cast<size_t>(subtasks.numel())));
  }
  writer.set_attribute("checkpoint", options.checkpoint);
  writer.set_attribute("precision", to_string(runtime.precision));
  writer.close();
  if (!options.common.quiet)
    std::printf("%s: %lld states, %zu rules\n", options.out.c_str(),
                static_cast<long long>(states.size(0)), rules.size());
}

}  // namespace
}  // namespace drop

int main(int argc, char** argv) {
  drop::InferOptions options;
  CLI::App app(
      "Embedding, sub-task, score and action that each inference rule chooses at given states.",
      "drop_infer");
  app.add_option("--checkpoint", options.checkpoint, "A checkpoint (.safetensors)")->required();
  app.add_option("--states", options.states, "HDF5 file with `states` [rows, state_dim], raw")
      ->required();
  app.add_option("--out", options.out,
                 "HDF5 file to write: a group for each rule with embedding, subtask, score, action")
      ->required();
  app.add_option(
      "--rule", options.rules,
      "Comma-separated: best,grad,best-ada,grad-ada (default: the config's search.rules)");
  app.add_option("--device", options.device, "auto, cpu or cuda")->capture_default_str();
  app.add_option("--precision", options.precision,
                 "Products of the ascents: auto, fp32, tf32 (CUDA) or bf16; scores are float32")
      ->capture_default_str();
  drop::add_common_options(app, options.common);
  app.footer(
      "Example:\n  drop_infer --checkpoint runs/hopper/checkpoints/step_000020000.safetensors "
      "--states S.h5 --out R.h5");
  return drop::run_program(app, argc, argv, options.common, [&] { drop::run(options); });
}
