#include "drop/train/engine_check.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdio>

#include "drop/base/error.h"
#include "drop/base/signals.h"
#include "drop/nn/runtime.h"
#include "drop/search/ascent_engine.h"
#include "drop/train/step_engine.h"
#include "kernels/dense_backend.h"
#include "train/eager_step_engine.h"

namespace drop {

namespace {

// Training is chaotic: where a gradient is nearly zero, Adam's first steps turn rounding errors
// into whole steps. So an engine is judged by a control, a second reference whose weights start off
// by no more than the unit roundoff of the engine's products. It may deviate this many times as
// far: the control rounds each weight once, an engine rounds in each of its sums of hundreds of
// terms.
constexpr double kTimesControl = 10.0;
constexpr double kMostOfTheWay = 0.9;     // but never as far as one that learns nothing,
constexpr double kMostOfTheValues = 0.5;  // or whose losses are others
// where a control happens to be lucky, so much is allowed to an ascent
constexpr double kAscentRoundoffs = 128.0;

double unit_roundoff(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return 0x1p-9;
    case Precision::kTf32:
      return 0x1p-11;
    default:
      return 0x1p-24;
  }
}

struct Course {
  std::vector<double> behaviour;
  std::vector<double> td;
  std::vector<double> gap;
};

Course run(StepEngine& engine, int64_t steps) {
  Course course;
  for (int64_t i = 0; i < steps; ++i) {
    if (stop_requested()) throw Interrupted("stopped by a signal; nothing was written");
    engine.advance(1);
    const StepMetrics metrics = engine.metrics();
    course.behaviour.push_back(metrics.behaviour);
    course.td.push_back(metrics.td);
    course.gap.push_back(metrics.conservative_gap);
  }
  return course;
}

// largest deviation relative to the largest value
double deviation(const std::vector<double>& found, const std::vector<double>& expected) {
  double largest = 1e-30;
  double deviation = 0.0;
  for (size_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double distance = std::abs(found[i] - expected[i]);
    if (!(distance <= deviation)) deviation = distance;  // takes NaN over
  }
  return deviation / largest;
}

// |found - expected| / |expected - start|
double share_of_way(const at::Tensor& found, const at::Tensor& expected, const at::Tensor& start) {
  const double way = (expected - start).norm().item<double>();
  return (found - expected).norm().item<double>() / std::max(way, 1e-30);
}

// weights off by no more than the precision's unit roundoff
void set_off(DropModel& model, Precision precision) {
  const at::NoGradGuard no_grad;
  const at::Tensor& flat = model.parameters().flat();
  flat.mul_(1 + unit_roundoff(precision) * at::sin(at::arange(flat.numel(), flat.options())));
}

std::vector<Precision> precisions_of(at::Device device) {
  if (device.is_cuda()) return {Precision::kFp32, Precision::kTf32, Precision::kBf16};
  if (cpu_has_bf16()) return {Precision::kFp32, Precision::kBf16};
  return {Precision::kFp32};
}

}  // namespace

std::vector<EngineCheck> check_engines(const ModelShape& shape, const Config& config,
                                       double reward_scale, const Sampler& sampler,
                                       const at::Tensor& states, at::Device device, int64_t steps) {
  const FullPrecision full;  // of the references
  const auto fresh = [&](const TrainConfig& train) {
    return TrainState(shape, train, reward_scale, static_cast<uint64_t>(config.seed),
                      at::TensorOptions(device).dtype(at::kFloat));
  };
  std::vector<EngineCheck> checks;

  // the first step's gradient, with every term at work (Adam's first moment is a tenth of it)
  TrainConfig all_terms = config.train;
  all_terms.conservative = true;
  all_terms.multiplier = MultiplierForm::kProjected;
  all_terms.multiplier_initial = 1.0;
  const auto gradient_of = [&](TrainState& state, StepEngine& engine) {
    engine.advance(1);
    return state.adam.exp_avg.clone();
  };
  TrainState gradient_state = fresh(all_terms);
  EagerStepEngine gradient_engine(gradient_state, &sampler, all_terms);
  const at::Tensor gradient = gradient_of(gradient_state, gradient_engine);
  const auto compare_gradient = [&](TrainState& state, StepEngine& engine) {
    return share_of_way(gradient_of(state, engine), gradient, at::zeros_like(gradient));
  };

  // training steps
  TrainState reference = fresh(config.train);
  const at::Tensor start = reference.model.parameters().flat().detach().clone();
  EagerStepEngine eager(reference, &sampler, config.train);
  const Course expected = run(eager, steps);
  const auto compare = [&](const Course& course, const TrainState& state) {
    EngineCheck check;
    check.value_deviation =
        std::max({deviation(course.behaviour, expected.behaviour),
                  deviation(course.td, expected.td), deviation(course.gap, expected.gap)});
    check.way_deviation = share_of_way(state.model.parameters().flat().detach(),
                                       reference.model.parameters().flat().detach(), start);
    return check;
  };
  const StepEngineKind kind = resolved_engine(StepEngineKind::kAuto, device);
  for (const Precision precision : precisions_of(device)) {
    // the control
    TrainState control_state = fresh(config.train);
    set_off(control_state.model, precision);
    EagerStepEngine control_engine(control_state, &sampler, config.train);
    const EngineCheck control = compare(run(control_engine, steps), control_state);
    TrainState control_gradient_state = fresh(all_terms);
    set_off(control_gradient_state.model, precision);
    EagerStepEngine control_gradient_engine(control_gradient_state, &sampler, all_terms);
    const double control_gradient =
        compare_gradient(control_gradient_state, control_gradient_engine);

    // the engine
    TrainState state = fresh(config.train);
    const auto engine = make_step_engine(kind, precision, {{&state, &sampler}}, config.train);
    EngineCheck check = compare(run(*engine, steps), state);
    TrainState first_state = fresh(all_terms);
    const auto first_engine =
        make_step_engine(kind, precision, {{&first_state, &sampler}}, all_terms);
    check.gradient_deviation = compare_gradient(first_state, *first_engine);
    check.engine = "step " + std::string(engine->name());
    check.precision = precision;
    check.gradient_bound = kTimesControl * control_gradient;
    check.value_bound = std::min(kMostOfTheValues, kTimesControl * control.value_deviation);
    check.way_bound = std::min(kMostOfTheWay, kTimesControl * control.way_deviation);
    checks.push_back(check);
  }

  // ascents on the model that the reference has trained
  const AscentOptions options = AscentOptions::from(config.search, shape.embedding_bound());
  const at::Tensor z = deployment_embeddings(reference.model, config.search.starts, sampler);
  const at::Tensor starts = z.unsqueeze(0).expand({states.size(0), z.size(0), z.size(1)});
  const at::Tensor at_states = states.to(device);
  const auto autograd_ends = [&](const DropModel& model) {
    return make_ascent_engine(AscentEngineKind::kAutograd, Precision::kFp32, model)
        ->run(at_states, starts, options)
        .embeddings;
  };
  const auto scores_of = [&](const at::Tensor& ends) {
    const at::NoGradGuard no_grad;
    return reference.model.score_embeddings(reference.model.encode(at_states), ends);
  };
  const at::Tensor ends = autograd_ends(reference.model);
  const at::Tensor scores = scores_of(ends);
  const double spread = std::max(scores.numel() > 1 ? scores.std().item<double>() : 0.0,
                                 1e-6 * scores.abs().max().item<double>() + 1e-30);
  const auto compare_ends = [&](const at::Tensor& found) {
    EngineCheck check;
    check.value_deviation = (scores_of(found) - scores).abs().mean().item<double>() / spread;
    check.way_deviation = share_of_way(found, ends, starts);
    return check;
  };
  const AscentEngineKind ascent =
      device.is_cuda() ? AscentEngineKind::kCuda : AscentEngineKind::kCpu;
  for (const Precision precision : precisions_of(device)) {
    TrainState off = fresh(config.train);
    {
      const at::NoGradGuard no_grad;
      off.model.parameters().flat().copy_(reference.model.parameters().flat());
    }
    set_off(off.model, precision);
    const EngineCheck control = compare_ends(autograd_ends(off.model));

    const auto engine = make_ascent_engine(ascent, precision, reference.model);
    EngineCheck check = compare_ends(engine->run(at_states, starts, options).embeddings);
    check.engine = "ascent " + std::string(engine->name());
    check.precision = precision;
    const double least = kAscentRoundoffs * unit_roundoff(precision);
    check.value_bound = std::max(least, kTimesControl * control.value_deviation);
    check.way_bound =
        std::max(least, std::min(kMostOfTheWay, kTimesControl * control.way_deviation));
    checks.push_back(check);
  }
  return checks;
}

std::string format_engine_checks(const std::vector<EngineCheck>& checks) {
  std::string text =
      "engine      precision  gradient (allowed)    values (allowed)       way (allowed)\n";
  for (const EngineCheck& check : checks) {
    char line[160];
    std::snprintf(line, sizeof line, "%-11s %-9s %9.1e %9.1e %9.1e %9.1e %9.1e %9.1e  %s\n",
                  check.engine.c_str(), to_string(check.precision).c_str(),
                  check.gradient_deviation, check.gradient_bound, check.value_deviation,
                  check.value_bound, check.way_deviation, check.way_bound,
                  check.passed() ? "ok" : "FAILED");
    text += line;
  }
  return text +
         "All against the eager float32 reference. gradient: deviation of the first step's; "
         "values: "
         "of\nlosses and gap (step) or of end points' scores (ascent); way: distance of weights or "
         "end points,\nas a share of the way that the reference's went. Allowed: 10 times what the "
         "reference itself does\nwhen its weights are off by the precision's unit roundoff.\n";
}

}  // namespace drop
