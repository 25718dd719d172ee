#include "train/graph_step_engine.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "drop/base/error.h"
#include "drop/base/random.h"
#include "kernels/cuda_backend.h"
#include "kernels/cuda_device.h"
#include "kernels/cuda_kernels.h"
#include "train/fused_step_engine.h"

namespace drop {

namespace {

// steps of the longer of the two graphs
constexpr int64_t kStepsAtOnce = 16;

template <typename T>
at::Tensor upload(std::span<const T> values, at::Device device) {
  const auto bytes = static_cast<int64_t>(values.size_bytes());
  return at::from_blob(const_cast<T*>(values.data()), {bytes}, at::kByte)
      .to(device, at::kByte, /*non_blocking=*/false, /*copy=*/true);
}

void require_alike(const std::vector<SeedRun>& seeds) {
  const SeedRun& first = seeds.at(0);
  for (const SeedRun& seed : seeds) {
    const bool alike = seed.state->model.parameters().flat().sizes() ==
                           first.state->model.parameters().flat().sizes() &&
                       seed.state->step == first.state->step &&
                       seed.sampler->batch_size() == first.sampler->batch_size();
    if (!alike) {
      throw UsageError("train.engine: found graph for seeds of different sizes or steps (seed " +
                       std::to_string(seed.state->seed) +
                       "); allowed: seeds that differ in nothing else; train them one by one");
    }
  }
}

}  // namespace

GraphStepEngine::GraphStepEngine(std::vector<SeedRun> seeds, const TrainConfig& config,
                                 Precision precision)
    : seeds_(std::move(seeds)), config_(config) {
  require_alike(seeds_);
  const at::NoGradGuard no_grad;
  TrainState& first = *seeds_.front().state;
  const auto count = static_cast<int64_t>(seeds_.size());
  backend_ = std::make_unique<CudaBackend>(
      BackendOptions{first.model.parameters().flat().device(), at::kFloat, precision,
                     /*num_seeds=*/count > 1 ? count : 0, /*training=*/true});
  step_ = std::make_unique<FusedStep>(
      *backend_, first.model.shape(), config, first.multiplier.threshold(),
      seeds_.front().sampler->batch_size(), count > 1 ? stack_states() : fused_state_of(first));
  upload_sources();
}

GraphStepEngine::~GraphStepEngine() = default;

// the seeds' tensors side by side; `advance` copies there and back
FusedStepState GraphStepEngine::stack_states() {
  std::vector<FusedStepState> each;
  for (const SeedRun& seed : seeds_) each.push_back(fused_state_of(*seed.state));
  FusedStepState all = each.front();
  for (at::Tensor FusedStepState::*member :
       {&FusedStepState::flat, &FusedStepState::target, &FusedStepState::exp_avg,
        &FusedStepState::exp_avg_sq, &FusedStepState::adam_step_count, &FusedStepState::multiplier,
        &FusedStepState::multiplier_exp_avg, &FusedStepState::multiplier_exp_avg_sq,
        &FusedStepState::multiplier_step_count}) {
    if (!(all.*member).defined()) continue;
    std::vector<at::Tensor> tensors;
    for (const FusedStepState& one : each) tensors.push_back((one.*member).detach());
    all.*member = at::stack(tensors);
    stacked_.emplace_back(all.*member, std::move(tensors));
  }
  return all;
}

void GraphStepEngine::upload_sources() {
  const at::Device device = step_->step().device();
  std::vector<cuda::SamplingSource> sources;
  for (const SeedRun& seed : seeds_) {
    const Sampler& sampler = *seed.sampler;
    const TransitionTable& table = sampler.table();
    tables_.push_back(upload(sampler.transition_rows(), device));
    tables_.push_back(upload(sampler.offsets(), device));
    const at::Tensor& rows = tables_[tables_.size() - 2];
    const at::Tensor& offsets = tables_.back();
    sources.push_back({{static_cast<const uint32_t*>(rows.const_data_ptr()),
                        static_cast<const int64_t*>(offsets.const_data_ptr()),
                        static_cast<int64_t>(sampler.offsets().size()) - 1, sampler.batch_size(),
                        sampler.options().subtasks_per_batch},
                       RandomStream(sampler.options().seed, "sampling").key(),
                       RandomStream(seed.state->seed, "z_u").key(),
                       RandomStream(seed.state->seed, "posterior").key(),
                       table.states().const_data_ptr<float>(),
                       table.actions().const_data_ptr<float>(),
                       table.rewards().const_data_ptr<float>(),
                       table.terminals().const_data_ptr<float>(),
                       table.rows() - 1});
  }
  sources_ = upload(std::span<const cuda::SamplingSource>(sources), device);
}

void GraphStepEngine::sample() {
  const FusedBatch& to = step_->batch();
  const bool has_axis = seeds_.size() > 1;
  const auto rows = [&](const at::Tensor& tensor) -> cuda::Rows<float> {
    const bool has_columns = tensor.dim() > (has_axis ? 2 : 1);
    return {tensor.data_ptr<float>(), has_axis ? tensor.stride(0) : 0,
            has_columns ? tensor.size(-1) : 1};
  };
  cuda::SampledBatch batch;
  batch.states = rows(to.states);
  batch.actions = rows(to.actions);
  batch.next_states = rows(to.next_states);
  batch.next_actions = rows(to.next_actions);
  batch.uniform_z = rows(to.uniform_z);
  if (to.posterior_noise.defined()) batch.posterior_noise = rows(to.posterior_noise);
  batch.bound = static_cast<float>(seeds_.front().state->model.shape().embedding_bound());
  batch.rewards = rows(to.rewards);
  batch.terminals = rows(to.terminals);
  batch.subtasks = {to.subtasks.data_ptr<int64_t>(), has_axis ? to.subtasks.stride(0) : 0, 1};
  batch.batch_size = seeds_.front().sampler->batch_size();
  batch.state_dim = to.states.size(-1);
  batch.action_dim = to.actions.size(-1);
  batch.embedding_dim = to.uniform_z.size(-1);
  cuda::sample(batch, static_cast<const cuda::SamplingSource*>(sources_.const_data_ptr()),
               step_->step().const_data_ptr<int64_t>(), has_axis ? 1 : 0,
               static_cast<int64_t>(seeds_.size()), cuda::current_stream(step_->step().device()));
}

void GraphStepEngine::step(bool measure_gap) {
  sample();
  step_->run(measure_gap);
}

void GraphStepEngine::steps(int64_t count, bool measure_gap) {
  while (count > 0) {
    const int64_t now = count >= kStepsAtOnce ? kStepsAtOnce : 1;
    backend_->repeat({now, measure_gap ? 1 : 0}, [&] {
      for (int64_t i = 0; i < now; ++i) step(measure_gap);
    });
    count -= now;
  }
}

void GraphStepEngine::advance(int64_t count) {
  if (count <= 0) return;
  const at::NoGradGuard no_grad;
  // the states may have been restored meanwhile
  for (const auto& [all, each] : stacked_) {
    for (size_t i = 0; i < each.size(); ++i)
      all[static_cast<int64_t>(i)].copy_(each[i], /*non_blocking=*/true);
  }
  step_->step().fill_(seeds_.front().state->step);
  backend_->refresh();

  // without the constraint, C is measured in the last step alone
  const int64_t plain = config_.conservative ? count : count - 1;
  steps(plain, /*measure_gap=*/config_.conservative);
  steps(count - plain, /*measure_gap=*/true);

  for (const auto& [all, each] : stacked_) {
    for (size_t i = 0; i < each.size(); ++i)
      at::Tensor(each[i]).copy_(all[static_cast<int64_t>(i)], /*non_blocking=*/true);
  }
  for (const SeedRun& seed : seeds_) seed.state->step += count;
}

at::Tensor GraphStepEngine::slots(size_t seed) const {
  const at::Tensor host = step_->metrics().cpu();
  return seeds_.size() > 1 ? host[static_cast<int64_t>(seed)] : host;
}

StepMetrics GraphStepEngine::metrics(size_t seed) const { return step_metrics_of(slots(seed)); }

std::optional<BadStep> GraphStepEngine::first_bad_step(size_t seed) const {
  return bad_step_of(slots(seed));
}

}  // namespace drop
