#include "drop/train/training_file.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/nn/safetensors.h"

namespace drop {

namespace {

const std::string kReplay = "replay.";

// Adam's two moments as named tensors of the parameters' shapes, sharing memory with them
std::vector<std::pair<std::string, at::Tensor>> adam_tensors(const TrainState& state) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [prefix, moments] :
       {std::pair<const char*, at::Tensor>{"adam.exp_avg.", state.adam.exp_avg},
        {"adam.exp_avg_sq.", state.adam.exp_avg_sq}}) {
    int64_t offset = 0;
    for (const ParameterSpec& spec : state.model.parameters().specs()) {
      int64_t size = 1;
      for (const int64_t extent : spec.shape) size *= extent;
      tensors.emplace_back(prefix + spec.name, moments.narrow(0, offset, size).view(spec.shape));
      offset += size;
    }
  }
  return tensors;
}

at::Tensor integer(int64_t value) { return at::scalar_tensor(value, at::kLong); }

}  // namespace

void save_training_pair(const std::filesystem::path& checkpoint,
                        std::span<const std::byte> checkpoint_bytes,
                        const std::filesystem::path& training, const TrainState& state,
                        const NamedTensors& replay) {
  const at::NoGradGuard no_grad;
  SafetensorsFile file;
  file.tensors = adam_tensors(state);
  file.tensors.emplace_back("adam.step", integer(state.step));
  for (const auto& named : state.multiplier.state()) file.tensors.push_back(named);
  file.tensors.emplace_back("rng.seed", integer(static_cast<int64_t>(state.seed)));
  file.tensors.emplace_back("rng.step", integer(state.step));
  for (const auto& [name, tensor] : replay) file.tensors.emplace_back(kReplay + name, tensor);
  file.metadata = {
      {"format_version", std::to_string(kCheckpointFormatVersion)},
      {"step", std::to_string(state.step)},
      {"checkpoint_payload_sha256", payload_sha256(checkpoint_bytes, checkpoint.string())}};
  // Adam's squares leave float32 before the parameters do; nobody could resume from them
  require_finite_result(file, training.string());
  write_file_atomically(training, serialise_safetensors(file));
  write_file_atomically(checkpoint, checkpoint_bytes);
}

LoadedPair load_training_pair(const std::filesystem::path& checkpoint,
                              const std::filesystem::path& training, TrainState& state,
                              const std::string& dataset_sha256) {
  const at::NoGradGuard no_grad;
  const std::string source = training.string();
  // everything is read and checked before anything is changed
  const SafetensorsFile file = parse_safetensors(read_file(training), source);
  require_format_version(file, source);
  require_finite(file, source);
  const auto belongs_to = file.metadata.find("checkpoint_payload_sha256");
  if (belongs_to == file.metadata.end() ||
      belongs_to->second != payload_sha256(read_file(checkpoint), checkpoint.string())) {
    throw DataError(source + ": belongs to another checkpoint than " + checkpoint.string() +
                    "; remove both files, the run continues from the previous pair");
  }
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;  // from, to
  for (const auto& [name, tensor] : adam_tensors(state)) {
    copies.emplace_back(file.tensor(name, tensor.sizes(), at::kFloat, source), tensor);
  }
  for (const auto& [name, tensor] : state.multiplier.state()) {
    copies.emplace_back(file.tensor(name, tensor.sizes(), tensor.scalar_type(), source), tensor);
  }
  const int64_t step = file.tensor("rng.step", {}, at::kLong, source).item<int64_t>();
  const int64_t seed = file.tensor("rng.seed", {}, at::kLong, source).item<int64_t>();
  if (static_cast<uint64_t>(seed) != state.seed) {
    throw DataError(source + ": found seed " + std::to_string(seed) + ", this run has seed " +
                    std::to_string(state.seed) + "; use the run's own folder");
  }
  if (step != file.tensor("adam.step", {}, at::kLong, source).item<int64_t>() || step < 0) {
    throw DataError(source +
                    ": rng.step and adam.step differ; remove this file and its checkpoint");
  }

  const TrainedModel trained =
      load_checkpoint(checkpoint, state.model.parameters().flat().device());
  const ModelOrigin& origin = trained.origin;
  if (origin.dataset_sha256 != dataset_sha256) {
    throw DataError(checkpoint.string() + ": was trained on a data file of SHA-256 " +
                    origin.dataset_sha256 + ", found " + dataset_sha256 +
                    "; resume with the same data file or start a new --out");
  }
  if (origin.step != step) {
    throw DataError(checkpoint.string() + ": is of step " + std::to_string(origin.step) +
                    ", its training file of step " + std::to_string(step) + "; remove both");
  }
  if (trained.model.parameters().flat().sizes() != state.model.parameters().flat().sizes()) {
    throw DataError(
        checkpoint.string() +
        ": holds networks of other sizes than the config asks for; use the run's own config");
  }
  state.model.parameters().flat().copy_(trained.model.parameters().flat());
  state.model.target_parameters().flat().copy_(trained.model.target_parameters().flat());
  for (const auto& [from, to] : copies) to.copy_(from);
  state.adam.step_count.fill_(static_cast<double>(step));
  state.step = step;

  LoadedPair pair{origin, {}};
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(kReplay)) pair.replay.emplace_back(name.substr(kReplay.size()), tensor);
  }
  return pair;
}

}  // namespace drop
