#include "drop/deploy/policy.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "drop/nn/runtime.h"

namespace drop {

Policy::Policy(const TrainedModel& trained, const SearchConfig& config, InferenceRuleKind rule,
               Precision precision)
    : trained_(trained),
      sample_(config.sample),
      search_(trained, config, precision),
      rule_(make_inference_rule(rule, search_)) {}

void Policy::begin(int64_t episodes, uint64_t seed, uint64_t first) {
  const auto options = trained_.embeddings.options();
  kept_.embeddings = at::zeros({episodes, trained_.embeddings.size(1)}, options);
  kept_.subtasks = at::zeros({episodes}, options.dtype(at::kLong));
  begun_.assign(static_cast<size_t>(episodes), false);
  noise_.clear();
  for (int64_t episode = 0; episode < episodes; ++episode) {
    noise_.emplace_back(seed, "eval", first + static_cast<uint64_t>(episode));
  }
}

Inference Policy::infer(const at::Tensor& raw_states) {
  return rule_->infer(trained_.standardise(raw_states));
}

at::Tensor Policy::mean_actions(const at::Tensor& raw_states, const at::Tensor& embeddings) const {
  const at::NoGradGuard no_grad;
  const FullPrecision full;
  return trained_.model.act(trained_.model.encode(trained_.standardise(raw_states)), embeddings);
}

Inference Policy::latest() const {
  Inference inference = latest_;
  if (!inference.scores.defined()) {
    const at::NoGradGuard no_grad;
    const FullPrecision full;
    const EncodedStates encoded = trained_.model.encode(trained_.standardise(states_));
    inference.scores =
        trained_.model.score_embeddings(encoded, inference.embeddings.unsqueeze(1)).squeeze(1);
  }
  return inference;
}

std::vector<double> Policy::act(std::span<const int64_t> episodes, std::span<const double> states) {
  const auto count = static_cast<int64_t>(episodes.size());
  const auto options = trained_.embeddings.options();
  const std::vector<double> copy(states.begin(), states.end());
  states_ =
      at::tensor(copy, at::kDouble).view({count, trained_.model.shape().state_dim}).to(options);

  // each episode's embedding: at every state, or at its first state only
  if (rule_->adapts()) {
    latest_ = infer(states_);
  } else {
    if (std::any_of(episodes.begin(), episodes.end(),
                    [&](int64_t e) { return !begun_[static_cast<size_t>(e)]; })) {
      const Inference found = infer(states_);
      for (int64_t i = 0; i < count; ++i) {
        if (begun_[static_cast<size_t>(episodes[i])]) continue;
        kept_.embeddings[episodes[i]].copy_(found.embeddings[i]);
        kept_.subtasks[episodes[i]].copy_(found.subtasks[i]);
        begun_[static_cast<size_t>(episodes[i])] = true;
      }
    }
    const at::Tensor index =
        at::tensor(std::vector<int64_t>(episodes.begin(), episodes.end()), at::kLong)
            .to(options.device());
    latest_ = {kept_.embeddings.index_select(0, index), kept_.subtasks.index_select(0, index), {}};
  }

  // its action there
  const at::NoGradGuard no_grad;
  const at::Tensor actions =
      mean_actions(states_, latest_.embeddings).to(at::kCPU, at::kDouble).contiguous();
  std::vector<double> result(actions.data_ptr<double>(),
                             actions.data_ptr<double>() + actions.numel());
  if (sample_) {
    const at::Tensor std =
        trained_.model.policy().std(options).to(at::kCPU, at::kDouble).contiguous();
    const int64_t action_dim = std.numel();
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t a = 0; a < action_dim; ++a) {
        double& value = result[static_cast<size_t>(i * action_dim + a)];
        value += std.data_ptr<double>()[a] * noise_[static_cast<size_t>(episodes[i])].normal();
        value = std::clamp(value, -1.0, 1.0);
      }
    }
  }
  return result;
}

}  // namespace drop
