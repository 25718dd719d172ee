#include "drop/train/step_engine.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "drop/base/error.h"
#include "train/eager_step_engine.h"
#include "train/fused_step_engine.h"
#include "train/graph_step_engine.h"

namespace drop {

namespace {

// several seeds, each with an engine of its own
class SequentialEngines : public StepEngine {
 public:
  explicit SequentialEngines(std::vector<std::unique_ptr<StepEngine>> engines)
      : engines_(std::move(engines)) {}
  std::string_view name() const override { return engines_.front()->name(); }
  void advance(int64_t count) override {
    for (const auto& engine : engines_) engine->advance(count);
  }
  StepMetrics metrics(size_t seed) const override { return engines_.at(seed)->metrics(); }
  std::optional<BadStep> first_bad_step(size_t seed) const override {
    return engines_.at(seed)->first_bad_step();
  }

 private:
  std::vector<std::unique_ptr<StepEngine>> engines_;
};

}  // namespace

StepEngineKind resolved_engine(StepEngineKind kind, at::Device device) {
  if (kind != StepEngineKind::kAuto) return kind;
  return device.is_cpu() ? StepEngineKind::kFused : StepEngineKind::kGraph;
}

std::unique_ptr<StepEngine> make_step_engine(StepEngineKind kind, Precision precision,
                                             const std::vector<SeedRun>& seeds,
                                             const TrainConfig& config) {
  const at::Device device = seeds.at(0).state->model.parameters().flat().device();
  kind = resolved_engine(kind, device);
  if (kind == StepEngineKind::kEager && precision == Precision::kBf16) {
    throw UsageError(
        "precision: found bf16 with train.engine: eager; allowed: auto, fp32, tf32 (CUDA); set "
        "train.engine: auto");
  }
#ifdef DROP_WITH_CUDA
  if (kind == StepEngineKind::kGraph && device.is_cuda())
    return std::make_unique<GraphStepEngine>(seeds, config, precision);
#endif
  if (kind == StepEngineKind::kGraph || (kind == StepEngineKind::kFused && !device.is_cpu())) {
    throw UsageError("train.engine: found " + to_string(kind) + " on " + device.str() +
                     "; allowed there: auto, eager, " + (device.is_cpu() ? "fused" : "graph"));
  }
  std::vector<std::unique_ptr<StepEngine>> engines;
  for (const SeedRun& seed : seeds) {
    if (kind == StepEngineKind::kEager)
      engines.push_back(std::make_unique<EagerStepEngine>(*seed.state, seed.sampler, config));
    else
      engines.push_back(std::make_unique<FusedStepEngine>(*seed.state, seed.sampler, config,
                                                          seed.sampler->batch_size(), precision));
  }
  if (engines.size() == 1) return std::move(engines.front());
  return std::make_unique<SequentialEngines>(std::move(engines));
}

at::Tensor deployment_embeddings(const DropModel& model, StartKind starts, const Sampler& sampler) {
  const at::NoGradGuard no_grad;
  const ModelShape& shape = model.shape();
  if (shape.embedding == EmbeddingKind::kTable) return model.task_embedding().embeddings();
  const at::TensorOptions options = model.parameters().flat().options();
  RandomStream stream(sampler.options().seed, "starts");
  at::Tensor z;
  if (starts == StartKind::kPrior) {
    std::vector<double> values(static_cast<size_t>(shape.num_subtasks * shape.embedding_dim));
    for (double& value : values) value = stream.normal();
    z = at::from_blob(values.data(), {shape.num_subtasks, shape.embedding_dim}, at::kDouble)
            .to(options, false, true);
  } else {
    const std::span<const uint32_t> rows = sampler.transition_rows();
    std::vector<int64_t> drawn(static_cast<size_t>(shape.num_subtasks));
    for (int64_t& row : drawn) row = rows[stream.below(rows.size())];
    const TransitionTable& table = sampler.table();
    const at::Tensor index = at::from_blob(drawn.data(), {shape.num_subtasks}, at::kLong)
                                 .to(table.device(), at::kLong, false, true);
    z = model.posterior_encoder()
            .forward(table.states().index_select(0, index), table.actions().index_select(0, index))
            .mean;
  }
  return z.clamp(-shape.embedding_bound(), shape.embedding_bound());
}

StepNoise draw_noise(uint64_t seed, int64_t step, int64_t batch_size, const ModelShape& shape,
                     const at::TensorOptions& options) {
  StepNoise noise;
  noise.uniform_z = draw_uniform_z(seed, step, batch_size, shape.embedding_dim, options);
  if (shape.embedding_bound() != 1.0) noise.uniform_z.mul_(shape.embedding_bound());
  if (shape.embedding == EmbeddingKind::kTable) return noise;
  RandomStream stream(seed, "posterior", static_cast<uint64_t>(step));
  std::vector<double> values(static_cast<size_t>(noise.uniform_z.numel()));
  for (double& value : values) value = stream.normal();
  noise.posterior =
      at::from_blob(values.data(), noise.uniform_z.sizes(), at::kDouble).to(options, false, true);
  return noise;
}

at::Tensor draw_uniform_z(uint64_t seed, int64_t step, int64_t batch_size, int64_t embedding_dim,
                          const at::TensorOptions& options) {
  RandomStream stream(seed, "z_u", static_cast<uint64_t>(step));
  std::vector<float> values(static_cast<size_t>(batch_size * embedding_dim));
  // 24 bits onto [-1, 1)
  for (float& value : values)
    value = static_cast<float>(stream.next_u32() >> 8) * 0x1.0p-23f - 1.0f;
  return at::from_blob(values.data(), {batch_size, embedding_dim}, at::kFloat)
      .to(options, false, true);
}

}  // namespace drop
