#include "drop/nn/checkpoint.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/system_report.h"
#include "drop/base/text.h"
#include "drop/nn/safetensors.h"

namespace drop {

namespace {

constexpr int64_t kSelftestStates = 4;
// float32 arithmetic on another CPU sums in another order; a wrong weight or layout is off by far
// more
constexpr double kSelftestTolerance = 1e-4;
constexpr const char* kNoCheckpoint = "this is no checkpoint of this project";

struct BestAnswer {
  at::Tensor actions;      // [S, action_dim]
  at::Tensor scores;       // [S]
  at::Tensor all_scores;   // [S, N]
  at::Tensor all_actions;  // [S, N, action_dim]
};

// rule `best` (paper, Algorithm 2) at each state, for the self-test
BestAnswer best_at(const DropModel& model, const at::Tensor& states, const at::Tensor& embeddings) {
  const at::NoGradGuard no_grad;
  const EncodedStates encoded = model.encode(states);
  BestAnswer answer;
  answer.all_actions = model.policy().mean(encoded.policy, embeddings.unsqueeze(0));
  answer.all_scores = model.score_embeddings(encoded, embeddings.unsqueeze(0));
  const auto [best, index] = answer.all_scores.max(1);
  answer.scores = best;
  answer.actions = model.act(encoded, embeddings.index_select(0, index));
  return answer;
}

std::string metadata_of(const SafetensorsFile& file, const std::string& key,
                        const std::string& source) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) {
    throw DataError(source + ": metadata " + key + " is missing; " + kNoCheckpoint);
  }
  return found->second;
}

double number_of(const SafetensorsFile& file, const std::string& key, const std::string& source) {
  const std::string text = metadata_of(file, key, source);
  double value = 0.0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() ||
      !std::isfinite(value)) {
    throw DataError(source + ": metadata " + key + ": found '" + text +
                    "', allowed: a finite number");
  }
  return value;
}

double number_or_unknown(const SafetensorsFile& file, const std::string& key,
                         const std::string& source) {
  return file.metadata.contains(key) ? number_of(file, key, source) : ModelOrigin::kUnknown;
}

int64_t step_of(const SafetensorsFile& file, const std::string& source) {
  constexpr double kLargest = 9007199254740992.0;  // up to which a double holds every integer
  const double step = number_of(file, "step", source);
  if (step < 0.0 || step > kLargest || step != std::trunc(step)) {
    throw DataError(source + ": metadata step: found " + metadata_of(file, "step", source) +
                    ", allowed: a number of steps; " + kNoCheckpoint);
  }
  return static_cast<int64_t>(step);
}

ModelOrigin origin_of(const SafetensorsFile& file, const std::string& source) {
  require_format_version(file, source);
  ModelOrigin origin;
  try {
    origin.config = parse_config(metadata_of(file, "config", source), source + ": metadata config");
  } catch (const UsageError& error) {
    throw DataError(error.what());
  }
  origin.task = metadata_of(file, "task", source);
  origin.dataset =
      file.metadata.contains("dataset") ? file.metadata.at("dataset") : origin.config.dataset;
  origin.dataset_sha256 = metadata_of(file, "dataset_sha256", source);
  origin.step = step_of(file, source);
  origin.reward_scale = number_of(file, "reward_scale", source);
  origin.reward_shift = number_of(file, "reward_shift", source);
  origin.data_return_mean = number_or_unknown(file, "data_return_mean", source);
  origin.data_return_max = number_or_unknown(file, "data_return_max", source);
  origin.data_length_mean = number_or_unknown(file, "data_length_mean", source);
  if (!(origin.reward_scale > 0.0))
    throw DataError(source + ": metadata reward_scale must be positive");
  return origin;
}

// sizes that the tensors must have, from the tensors that fix them and the config inside
ModelShape shape_of(const SafetensorsFile& file, const Config& config, const std::string& source) {
  const auto extent = [&](const std::string& name, size_t rank, int64_t axis) {
    for (const auto& [known, tensor] : file.tensors) {
      if (known == name && tensor.dim() == static_cast<int64_t>(rank) && tensor.numel() > 0)
        return tensor.size(axis);
    }
    throw DataError(source + ": tensor " + name + " is missing, empty or of the wrong rank; " +
                    kNoCheckpoint);
  };
  return ModelShape::from(config.model, extent("normaliser.state_mean", 1, 0),
                          extent("policy.action_encoder.3.bias", 1, 0), extent("embeddings", 2, 0));
}

void copy_parameters(const SafetensorsFile& file, DropModel& model, const std::string& source) {
  const at::NoGradGuard no_grad;
  for (ParameterBuffer* buffer : {&model.parameters(), &model.target_parameters()}) {
    for (size_t i = 0; i < buffer->specs().size(); ++i) {
      const ParameterSpec& spec = buffer->specs()[i];
      buffer->views()[i].copy_(file.tensor(spec.name, spec.shape, at::kFloat, source));
    }
  }
}

SafetensorsFile read_verified(const std::filesystem::path& path) {
  SafetensorsFile file = parse_safetensors(read_file(path), path.string());
  require_finite(file, path.string());
  return file;
}

void run_selftest(const TrainedModel& trained, const SafetensorsFile& file,
                  const std::string& source) {
  const ModelShape& shape = trained.model.shape();
  const at::Device device = trained.embeddings.device();
  const auto stored = [&](const std::string& name, at::IntArrayRef sizes) {
    return file.tensor(name, sizes, at::kFloat, source).to(device);
  };
  const at::Tensor states = stored("selftest.states", {kSelftestStates, shape.state_dim});
  const at::Tensor actions = stored("selftest.actions", {kSelftestStates, shape.action_dim});
  const at::Tensor scores = stored("selftest.scores", {kSelftestStates});
  const BestAnswer answer = best_at(trained.model, trained.standardise(states), trained.embeddings);
  const at::Tensor allowed = (scores.abs() + 1.0) * kSelftestTolerance;
  const at::Tensor score_wrong = (answer.scores - scores).abs() > allowed;
  // embeddings whose scores tie within the tolerance may change places: the action must be one of
  // theirs
  const at::Tensor tied = answer.all_scores >= (answer.scores - allowed).unsqueeze(1);
  const at::Tensor near =
      (answer.all_actions - actions.unsqueeze(1)).abs().amax(2) <= kSelftestTolerance;
  const at::Tensor action_wrong = tied.logical_and(near).any(1).logical_not();
  if (score_wrong.logical_or(action_wrong).any().item<bool>()) {
    throw DataError(
        source +
        ": the self-test inside gives other actions or scores on this machine than where it was "
        "written; the arithmetic here is broken (see drop_doctor) or the file was made by another "
        "program");
  }
}

}  // namespace

void require_format_version(const SafetensorsFile& file, const std::string& source) {
  if (number_of(file, "format_version", source) == kCheckpointFormatVersion) return;
  throw DataError(source + ": format_version " + metadata_of(file, "format_version", source) +
                  ", this program reads " + std::to_string(kCheckpointFormatVersion) +
                  "; use the program version that wrote it");
}

at::Tensor TrainedModel::standardise(const at::Tensor& raw_states) const {
  return (raw_states - state_mean) / state_std;
}

std::vector<std::byte> serialise_checkpoint(const std::filesystem::path& path,
                                            const ModelOrigin& origin, const DropModel& model,
                                            const at::Tensor& embeddings, double multiplier,
                                            const Normaliser& normaliser,
                                            const at::Tensor& selftest_states) {
  const at::NoGradGuard no_grad;
  const auto vector = [](const std::vector<float>& values) {
    return at::tensor(values, at::kFloat);
  };

  // parameters by name, then everything else that acting needs
  SafetensorsFile file;
  for (const ParameterBuffer* buffer : {&model.parameters(), &model.target_parameters()}) {
    for (size_t i = 0; i < buffer->specs().size(); ++i) {
      file.tensors.emplace_back(buffer->specs()[i].name, buffer->views()[i].to(at::kFloat));
    }
  }
  file.tensors.emplace_back("multiplier.value", at::scalar_tensor(multiplier, at::kFloat));
  file.tensors.emplace_back("normaliser.state_mean", vector(normaliser.mean));
  file.tensors.emplace_back("normaliser.state_std", vector(normaliser.std));
  file.tensors.emplace_back("embeddings", embeddings.to(at::kFloat));

  // the self-test: rule `best` at four states
  std::vector<float> standardised(selftest_states.data_ptr<float>(),
                                  selftest_states.data_ptr<float>() + selftest_states.numel());
  normaliser.apply(standardised);
  const at::Tensor states =
      at::tensor(standardised, at::kFloat).view_as(selftest_states).to(embeddings.device());
  const BestAnswer answer = best_at(model, states, embeddings);
  file.tensors.emplace_back("selftest.states", selftest_states);
  file.tensors.emplace_back("selftest.actions", answer.actions);
  file.tensors.emplace_back("selftest.scores", answer.scores);
  require_finite_result(file, path.string());

  file.metadata = {{"format_version", std::to_string(kCheckpointFormatVersion)},
                   {"drop_version", project_version()},
                   {"config", to_yaml(origin.config)},
                   {"task", origin.task},
                   {"dataset", origin.dataset},
                   {"dataset_sha256", origin.dataset_sha256},
                   {"step", std::to_string(origin.step)},
                   {"reward_scale", shortest(origin.reward_scale)},
                   {"reward_shift", shortest(origin.reward_shift)}};
  for (const auto& [key, value] :
       {std::pair<const char*, double>{"data_return_mean", origin.data_return_mean},
        {"data_return_max", origin.data_return_max},
        {"data_length_mean", origin.data_length_mean}}) {
    if (std::isfinite(value)) file.metadata[key] = shortest(value);
  }
  return serialise_safetensors(file);
}

void save_checkpoint(const std::filesystem::path& path, const ModelOrigin& origin,
                     const DropModel& model, const at::Tensor& embeddings, double multiplier,
                     const Normaliser& normaliser, const at::Tensor& selftest_states) {
  write_file_atomically(path, serialise_checkpoint(path, origin, model, embeddings, multiplier,
                                                   normaliser, selftest_states));
}

TrainedModel load_checkpoint(const std::filesystem::path& path, at::Device device) {
  const std::string source = path.string();
  const SafetensorsFile file = read_verified(path);
  ModelOrigin origin = origin_of(file, source);
  const ModelShape shape = shape_of(file, origin.config, source);
  // all sizes are checked against the tensors before memory is taken for them
  file.tensor("embeddings", {shape.num_subtasks, shape.embedding_dim}, at::kFloat, source);
  for (const ParameterSpec& spec : parameter_specs(shape))
    file.tensor(spec.name, spec.shape, at::kFloat, source);
  TrainedModel trained{
      std::move(origin), DropModel(shape, at::TensorOptions(device).dtype(at::kFloat)), {}, {}, {}};
  copy_parameters(file, trained.model, source);
  trained.state_mean =
      file.tensor("normaliser.state_mean", {shape.state_dim}, at::kFloat, source).to(device);
  trained.state_std =
      file.tensor("normaliser.state_std", {shape.state_dim}, at::kFloat, source).to(device);
  if (!(trained.state_std > 0).all().item<bool>())
    throw DataError(source + ": normaliser.state_std must be positive");
  trained.embeddings =
      file.tensor("embeddings", {shape.num_subtasks, shape.embedding_dim}, at::kFloat, source)
          .to(device);
  file.tensor("multiplier.value", {}, at::kFloat, source);
  run_selftest(trained, file, source);
  return trained;
}

}  // namespace drop
