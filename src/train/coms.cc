#include "drop/train/coms.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <spdlog/spdlog.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/signals.h"
#include "drop/base/system_report.h"
#include "drop/base/text.h"
#include "drop/log/logging.h"
#include "drop/nn/runtime.h"
#include "drop/nn/safetensors.h"

namespace drop {

namespace {

void stop_if_asked() {
  if (stop_requested())
    throw Interrupted("stopped by a signal; run the command again with --resume to start over");
}

// Sampler -> designs
at::Tensor fit_policies(const Config& config, const BatchedMlp& form, const Sampler& sampler,
                        const ComsReporter& report) {
  const auto seed = static_cast<uint64_t>(config.seed);
  const TransitionTable& table = sampler.table();
  const auto count = static_cast<int64_t>(sampler.offsets().size()) - 1;
  RandomStream stream(seed, "init");
  PolicyFits fits(form, form.initial(stream).to(table.device()), count, config.train.learning_rate);
  for (int64_t step = 1; step <= config.train.steps; ++step) {
    stop_if_asked();
    const at::Tensor rows =
        draw_rows_of_each(sampler, seed, step, config.train.batch_size).to(table.device());
    const auto of_each = [&](const at::Tensor& column) {
      return column.index_select(0, rows).view({count, config.train.batch_size, -1});
    };
    const at::Tensor losses = fits.step(of_each(table.states()), of_each(table.actions()));
    if (step % config.train.log_every != 0 && step != config.train.steps) continue;
    const auto loss = losses.mean().item<double>();
    if (!std::isfinite(loss)) {
      throw RunError("step " + std::to_string(step) +
                     ": the policies' loss is not finite; lower train.learning_rate");
    }
    report(step, {{"loss/behaviour", loss}});
  }
  return fits.designs();
}

}  // namespace

int64_t BatchedMlp::parameter_count() const {
  int64_t count = 0;
  for (size_t layer = 0; layer + 1 < sizes.size(); ++layer)
    count += (sizes[layer] + 1) * sizes[layer + 1];
  return count;
}

at::Tensor BatchedMlp::initial(RandomStream& stream) const {
  at::Tensor parameters = at::empty({parameter_count()}, at::kFloat);
  auto* next = parameters.data_ptr<float>();
  for (size_t layer = 0; layer + 1 < sizes.size(); ++layer) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(sizes[layer]));
    for (int64_t i = 0; i < (sizes[layer] + 1) * sizes[layer + 1]; ++i)
      *next++ = static_cast<float>(stream.uniform(-bound, bound));
  }
  return parameters;
}

std::vector<at::Tensor> BatchedMlp::layers(const at::Tensor& parameters) const {
  std::vector<int64_t> lengths;
  for (size_t layer = 0; layer + 1 < sizes.size(); ++layer) {
    lengths.push_back(sizes[layer] * sizes[layer + 1]);
    lengths.push_back(sizes[layer + 1]);
  }
  std::vector<at::Tensor> parts = parameters.split_with_sizes(lengths, 1);
  for (size_t layer = 0; layer + 1 < sizes.size(); ++layer) {
    at::Tensor& weight = parts[2 * layer];
    at::Tensor& bias = parts[2 * layer + 1];
    weight = weight.unflatten(1, {sizes[layer + 1], sizes[layer]}).transpose(1, 2);
    bias = bias.unsqueeze(1);
  }
  return parts;
}

at::Tensor BatchedMlp::forward_from_first(const std::vector<at::Tensor>& layers,
                                          const at::Tensor& first) const {
  at::Tensor x = first;
  for (size_t part = 2; part < layers.size(); part += 2)
    x = at::baddbmm(layers[part + 1], at::leaky_relu(x, negative_slope), layers[part]);
  return tanh ? at::tanh(x) : x;
}

at::Tensor BatchedMlp::forward(const at::Tensor& parameters, const at::Tensor& inputs) const {
  const std::vector<at::Tensor> parts = layers(parameters);
  return forward_from_first(parts, at::baddbmm(parts[1], inputs, parts[0]));
}

BatchedMlp coms_policy_form(int64_t state_dim, int64_t action_dim, const ComsSettings& settings) {
  return {{state_dim, settings.policy_width, settings.policy_width, action_dim}, 0.0, true};
}

BatchedMlp coms_score_form(int64_t design_size, int64_t hidden_width,
                           const ComsSettings& settings) {
  return {{design_size, hidden_width, hidden_width, 1}, settings.negative_slope, false};
}

PolicyFits::PolicyFits(BatchedMlp form, const at::Tensor& initial, int64_t count,
                       double learning_rate)
    : form_(std::move(form)),
      designs_(initial.unsqueeze(0).repeat({count, 1})),
      adam_(designs_, learning_rate) {}

at::Tensor PolicyFits::step(const at::Tensor& states, const at::Tensor& actions) {
  const at::AutoGradMode with_gradient(true);
  const at::Tensor designs = designs_.detach().requires_grad_();
  const at::Tensor errors = (form_.forward(designs, states) - actions).square().sum(2);
  const at::Tensor losses = 0.5 * errors.mean(1);
  // the sum separates: each policy has the gradient of its own loss
  adam_.step(torch::autograd::grad({losses.sum()}, {designs})[0]);
  return losses.detach();
}

at::Tensor ColumnScaler::apply(const at::Tensor& rows) const { return (rows - mean) / std; }

at::Tensor ColumnScaler::undo(const at::Tensor& rows) const { return rows * std + mean; }

ColumnScaler fit_column_scaler(const at::Tensor& rows, double floor) {
  return {rows.mean(0), rows.std(0, /*unbiased=*/false) + floor};
}

at::Tensor ascend_designs(const BatchedMlp& form, const at::Tensor& parameters,
                          const at::Tensor& designs, int64_t steps, double step_size) {
  const std::vector<at::Tensor> layers = form.layers(parameters.detach().unsqueeze(0));
  const at::Tensor weight = layers[0][0];  // [P, hidden]
  const at::Tensor squares = weight.t().matmul(weight);
  at::Tensor first = (designs.detach().matmul(weight) + layers[1][0]).unsqueeze(0);
  at::Tensor total = at::zeros_like(first);  // of the gradients
  for (int64_t step = 0; step < steps; ++step) {
    const at::AutoGradMode with_gradient(true);
    first.requires_grad_();
    const at::Tensor gradient =
        torch::autograd::grad({form.forward_from_first(layers, first).sum()}, {first})[0];
    total = total + gradient;
    first = first.detach() + step_size * gradient.matmul(squares);
  }
  return designs.detach() + step_size * total[0].matmul(weight.t());
}

ScoreFit::ScoreFit(BatchedMlp form, const at::Tensor& initial, const ComsSettings& settings)
    : form_(std::move(form)),
      settings_(settings),
      parameters_(initial.clone()),
      adam_(parameters_, settings.score_learning_rate),
      alpha_(settings.initial_alpha) {}

ScoreFitTerms ScoreFit::step(const at::Tensor& designs, const at::Tensor& objectives) {
  const double step_size = settings_.step_size * std::sqrt(static_cast<double>(designs.size(1)));
  const at::Tensor adversaries =
      ascend_designs(form_, parameters_, designs, settings_.adversary_steps, step_size);

  const at::AutoGradMode with_gradient(true);
  const at::Tensor parameters = parameters_.detach().requires_grad_();
  const at::Tensor scores =
      form_.forward(parameters.unsqueeze(0), at::cat({designs, adversaries}).unsqueeze(0))
          .view({2, -1});
  const at::Tensor squared_error = (scores[0] - objectives).square().mean();
  const at::Tensor overestimation = scores[1].mean() - scores[0].mean();
  const at::Tensor loss = squared_error + alpha_ * overestimation;
  adam_.step(torch::autograd::grad({loss}, {parameters})[0]);

  const auto gap = overestimation.item<double>();
  alpha_ = std::max(0.0, alpha_ + settings_.alpha_rate * (gap - settings_.overestimation_limit));
  return {squared_error.item<double>(), gap, alpha_};
}

at::Tensor draw_rows_of_each(const Sampler& sampler, uint64_t seed, int64_t step,
                             int64_t batch_size) {
  const auto offsets = sampler.offsets();
  const auto count = static_cast<int64_t>(offsets.size()) - 1;
  RandomStream stream(seed, "sampling", static_cast<uint64_t>(step));
  at::Tensor rows = at::empty({count * batch_size}, at::kLong);
  auto* next = rows.data_ptr<int64_t>();
  for (size_t n = 0; n + 1 < offsets.size(); ++n) {
    const auto size = static_cast<uint64_t>(offsets[n + 1] - offsets[n]);
    for (int64_t i = 0; i < batch_size; ++i)
      *next++ = sampler.transition_rows()[static_cast<size_t>(offsets[n]) + stream.below(size)];
  }
  return rows;
}

ComsModel train_coms(const Config& config, const ComsSettings& settings, const Sampler& sampler,
                     const Decomposition& decomposition, const ComsReporter& report) {
  const FullPrecision full;
  const TransitionTable& table = sampler.table();
  ComsModel model;
  model.policy = coms_policy_form(table.state_dim(), table.action_dim(), settings);
  model.score =
      coms_score_form(model.policy.parameter_count(), config.model.hidden_width, settings);
  model.designs = fit_policies(config, model.policy, sampler, report);

  // designs and objectives, both standardised over the N sub-tasks
  std::vector<double> returns;
  for (const Subtask& subtask : decomposition.subtasks) returns.push_back(subtask.return_mean);
  model.objectives = at::tensor(returns, at::kDouble).to(model.designs.options());
  model.design_scaler = fit_column_scaler(model.designs, settings.std_floor);
  model.objective_scaler = fit_column_scaler(model.objectives, settings.std_floor);
  const at::Tensor designs = model.design_scaler.apply(model.designs);
  const at::Tensor objectives = model.objective_scaler.apply(model.objectives);

  // the score model
  RandomStream stream(static_cast<uint64_t>(config.seed), "init", 1);
  ScoreFit fit(model.score, model.score.initial(stream).to(table.device()), settings);
  for (int64_t step = 1; step <= settings.score_steps; ++step) {
    stop_if_asked();
    const ScoreFitTerms terms = fit.step(designs, objectives);
    if (!std::isfinite(terms.squared_error) || !std::isfinite(terms.overestimation)) {
      throw RunError("step " + std::to_string(step) +
                     " of the score model: its loss is not finite; lower train.learning_rate");
    }
    report(config.train.steps + step, {{"coms/squared_error", terms.squared_error},
                                       {"coms/overestimation", terms.overestimation},
                                       {"coms/alpha", terms.alpha}});
  }
  model.score_parameters = fit.parameters();

  // the ascent from the best design of the data
  const at::Tensor best = objectives.argmax().view({1});
  const at::Tensor start = designs.index_select(0, best);
  const double step_size = settings.step_size * std::sqrt(static_cast<double>(designs.size(1)));
  const at::Tensor end = ascend_designs(model.score, model.score_parameters, start,
                                        config.search.ascent_steps, step_size);
  model.inferred = model.design_scaler.undo(end).squeeze(0);
  const auto predicted = [&](const at::Tensor& design) {
    const at::Tensor score =
        model.score.forward(model.score_parameters.unsqueeze(0), design.unsqueeze(0));
    return model.objective_scaler.undo(score).item<double>();
  };
  log().info(
      "ascent of {} steps from sub-task {} (return {:.1f}): predicted return {:.1f} -> {:.1f}, "
      "moved by {:.2f} sqrt(P)",
      config.search.ascent_steps, best.item<int64_t>(), model.objectives.max().item<double>(),
      predicted(start), predicted(end),
      (end - start).norm().item<double>() / std::sqrt(static_cast<double>(designs.size(1))));
  return model;
}

void save_coms(const std::filesystem::path& path, const ComsModel& model, const ModelOrigin& origin,
               const Normaliser& normaliser) {
  SafetensorsFile file;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    file.tensors.emplace_back(name, tensor.to(at::kCPU, at::kFloat).contiguous());
  };
  add("designs", model.designs);
  add("objectives", model.objectives);
  add("design_scaler.mean", model.design_scaler.mean);
  add("design_scaler.std", model.design_scaler.std);
  add("objective_scaler.mean", model.objective_scaler.mean);
  add("objective_scaler.std", model.objective_scaler.std);
  add("score", model.score_parameters);
  add("inferred", model.inferred);
  add("normaliser.state_mean", at::tensor(normaliser.mean, at::kFloat));
  add("normaliser.state_std", at::tensor(normaliser.std, at::kFloat));
  require_finite_result(file, path.string());
  const auto text = [](const std::vector<int64_t>& sizes) {
    std::vector<std::string> parts;
    for (const int64_t size : sizes) parts.push_back(std::to_string(size));
    return join(parts, ",");
  };
  file.metadata = {{"kind", "coms"},
                   {"drop_version", project_version()},
                   {"config", to_yaml(origin.config)},
                   {"task", origin.task},
                   {"dataset", origin.dataset},
                   {"dataset_sha256", origin.dataset_sha256},
                   {"policy_sizes", text(model.policy.sizes)},
                   {"score_sizes", text(model.score.sizes)},
                   {"score_negative_slope", shortest(model.score.negative_slope)}};
  write_file_atomically(path, serialise_safetensors(file));
}

}  // namespace drop
