#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "drop/base/random.h"
#include "kernels/cpu_backend.h"
#include "kernels/dense_backend.h"

/// What every DenseBackend must compute, held against float64 on the CPU.
namespace drop::testing {

struct BackendCase {
  std::function<std::unique_ptr<DenseBackend>(int64_t num_seeds)> make;
  double tolerance = 1e-5;  ///< norm of the error over the norm of the result
  int64_t num_seeds = 0;
  int64_t rows = 24;
  int64_t inputs = 14;
  int64_t width = 40;
  int64_t joined = 5;
  int64_t outputs = 3;
  int64_t one_hot = 11;

  int64_t seeds() const { return std::max<int64_t>(1, num_seeds); }
};

/// A backend under test, its parameters, and the same in float64, seed by seed.
class BackendCheck {
 public:
  explicit BackendCheck(const BackendCase& sizes)
      : sizes_(sizes), backend_(sizes.make(sizes.num_seeds)) {}

  DenseBackend& backend() { return *backend_; }

  /// Uniform values [seeds, ...] in float64, such that float keeps them exactly.
  at::Tensor random(std::vector<int64_t> shape, double low = -1.0, double high = 1.0) {
    shape.insert(shape.begin(), sizes_.seeds());
    RandomStream stream(3, "test", draws_++);
    at::Tensor values = at::empty(shape, at::kDouble);
    for (int64_t i = 0; i < values.numel(); ++i)
      values.data_ptr<double>()[i] = static_cast<float>(stream.uniform(low, high));
    return values;
  }

  /// A plain tensor of the backend with these values [seeds, ...].
  at::Tensor plain(const at::Tensor& values) {
    at::Tensor tensor = backend_->plain(values.sizes().slice(1));
    tensor.copy_(values.reshape(tensor.sizes()));
    return tensor;
  }
  at::Tensor index(const at::Tensor& values) {
    at::Tensor tensor = backend_->plain_index(values.sizes().slice(1));
    tensor.copy_(values.reshape(tensor.sizes()));
    return tensor;
  }

  /// Values of a plain tensor as [seeds, ...] in float64.
  at::Tensor values(const at::Tensor& tensor) const {
    const at::Tensor host = tensor.cpu().to(at::kDouble);
    return sizes_.num_seeds > 0 ? host : host.unsqueeze(0);
  }

  void expect_near(const at::Tensor& tensor, const at::Tensor& expected, const std::string& what) {
    const at::Tensor found = values(tensor).reshape(expected.sizes());
    const double norm = expected.norm().item<double>();
    const double error = (found - expected).norm().item<double>();
    EXPECT_LE(error, sizes_.tolerance * std::max(norm, 1e-3))
        << what << ": norm " << norm << ", of " << expected.sizes();
  }

  /// The same for values of very different sizes, none of which may hide another's error.
  void expect_each_near(const at::Tensor& tensor, const at::Tensor& expected,
                        const std::string& what) {
    const at::Tensor scale = expected.abs().clamp_min(1.0);
    const at::Tensor error = (values(tensor).reshape(expected.sizes()) - expected).abs() / scale;
    EXPECT_LE(error.max().item<double>(), 10 * sizes_.tolerance) << what;
  }

 protected:
  const BackendCase sizes_;

 private:
  std::unique_ptr<DenseBackend> backend_;
  uint64_t draws_ = 0;
};

/// Layers forward and backward on all sizes of the case.
class LayerCheck : public BackendCheck {
 public:
  explicit LayerCheck(const BackendCase& sizes) : BackendCheck(sizes) {
    const at::NoGradGuard no_grad;
    const int64_t w = sizes.width;
    add("first", {w, sizes.inputs});
    add("first_bias", {w});
    add("second", {w, w + sizes.joined});
    add("second_bias", {w});
    add("last", {sizes.outputs, w});
    add("last_bias", {sizes.outputs});
    add("hot", {w, sizes.one_hot});
    add("hot_bias", {w});
    add("identity", {w, w});
    value("identity").copy_(at::eye(w, at::kDouble));
    values_ = at::cat(parts_, 1);
    flat_ = plain(values_);
    target_values_ = values_ * 0.5;
    target_ = plain(target_values_);
    gradients_ = plain(random({values_.size(1)}));

    for (const bool target : {false, true}) {
      first_[target] = weight("first", 0, sizes.inputs, target);
      second_[target] = weight("second", 0, w, target);
      joined_[target] = weight("second", w, sizes.joined, target);
      last_[target] = weight("last", 0, w, target);
    }
    hot_ = weight("hot", 0, sizes.one_hot, false);
    identity_ = weight("identity", 0, w, false);
    read_ = backend().plain({sizes.rows, w});
  }

  void run() {
    const at::NoGradGuard no_grad;
    const BackendCase& c = sizes_;
    DenseBackend& b = backend();
    const MatrixId x = b.add_matrix(c.rows, c.inputs, MatrixUse::kInput);
    const MatrixId z = b.add_matrix(c.rows, c.joined, MatrixUse::kInput);
    const MatrixId h1 = b.add_matrix(c.rows, c.width, MatrixUse::kHidden);
    const MatrixId h2 = b.add_matrix(c.rows, c.width, MatrixUse::kHidden);
    const MatrixId h3 = b.add_matrix(c.rows, c.width, MatrixUse::kHidden);
    const MatrixId out_gradient = b.add_matrix(c.rows, c.outputs, MatrixUse::kGradient);
    const MatrixId g2 = b.add_matrix(c.rows, c.width, MatrixUse::kGradient);
    const MatrixId g1 = b.add_matrix(c.rows, c.width, MatrixUse::kGradient);
    const MatrixId n = b.add_matrix(c.one_hot, c.width, MatrixUse::kHidden);
    const MatrixId n_gradient = b.add_matrix(c.one_hot, c.width, MatrixUse::kGradient);
    b.bind(flat_, target_, gradients_);
    b.refresh();

    // inputs arrive in two parts
    const RowRange all{0, c.rows};
    const at::Tensor x_values = random({c.rows, c.inputs});
    const at::Tensor z_values = random({c.rows, c.joined});
    const int64_t cut = c.inputs / 3;
    b.load(x, plain(x_values.narrow(2, 0, cut)), 0, all);
    b.load(x, plain(x_values.narrow(2, cut, c.inputs - cut)), cut, all);
    b.load(z, plain(z_values), 0, all);

    // forward, twice: what is chosen at the first call must serve the second
    at::Tensor v1, v2;
    for (int repeat = 0; repeat < 2; ++repeat) {
      for (const bool target : {true, false}) {
        b.linear(h1, {{x, first_[target]}}, offset("first_bias"), {}, all);
        v1 = times(x_values, of("first", target)).add(bias("first_bias", target)).relu();
        expect_near(read(h1), v1, "linear");
        // a few rows at a time
        for (int64_t begin = 0; begin < c.rows; begin += 8) {
          b.linear(h2, {{h1, second_[target]}, {z, joined_[target]}}, offset("second_bias"), {},
                   {begin, std::min<int64_t>(8, c.rows - begin)});
        }
        v2 = times(at::cat({v1, z_values}, 2), of("second", target))
                 .add(bias("second_bias", target))
                 .relu();
        expect_near(read(h2), v2, "linear of two inputs");
      }
    }
    // which values are above zero is what the backend found: rounding may move some across
    const at::Tensor open1 = values(read(h1)) > 0;
    const at::Tensor open2 = values(read(h2)) > 0;
    const at::Tensor small = b.plain({c.rows, c.outputs});
    b.head(small, {{h2, last_[false]}}, offset("last_bias"), HeadForm::kTanh, all);
    const at::Tensor head_values = times(v2, of("last")).add(bias("last_bias"));
    expect_near(small, head_values.tanh(), "tanh head");
    b.head(small, {{h2, last_[false]}}, std::nullopt, HeadForm::kLinear, all);
    expect_near(small, times(v2, of("last")), "head without bias");

    // shared sums: with one input, with two, without bias
    for (const int64_t group : {int64_t{1}, int64_t{4}}) {
      const at::Tensor sum = random({(c.rows + group - 1) / group, c.width});
      const at::Tensor spread = sum.repeat_interleave(group, 1).narrow(1, 0, c.rows);
      const at::Tensor joined = times(z_values, joined_part());
      b.linear(h3, {{z, joined_[false]}}, std::nullopt, {plain(sum), group}, all);
      expect_near(read(h3), (joined + spread).relu(), "linear with a shared sum");
      b.linear(h3, {{h1, second_[false]}, {z, joined_[false]}}, offset("second_bias"),
               {plain(sum), group}, {8, c.rows - 8});
      const at::Tensor both =
          times(v1, of("second").narrow(2, 0, c.width)) + joined + spread + bias("second_bias");
      expect_near(read(h3).narrow(-2, 8, c.rows - 8), both.relu().narrow(1, 8, c.rows - 8),
                  "linear with a shared sum, some rows");
    }

    // wide heads, as shared sums are made
    const at::Tensor wide = b.plain({c.rows, c.width});
    b.head(wide, {{h1, second_[false]}}, offset("second_bias"), HeadForm::kLinear, all);
    const at::Tensor wide_values =
        times(v1, of("second").narrow(2, 0, c.width)) + bias("second_bias");
    expect_near(wide, wide_values, "wide head");
    b.head(wide, {{h1, second_[false]}, {z, joined_[false]}}, offset("second_bias"),
           HeadForm::kTanh, {8, c.rows - 8});
    expect_near(wide.narrow(-2, 8, c.rows - 8),
                (wide_values + times(z_values, joined_part())).tanh().narrow(1, 8, c.rows - 8),
                "wide tanh head of two inputs");

    // backward
    const at::Tensor g_values = random({c.rows, c.outputs});
    b.load(out_gradient, plain(g_values), 0, all);
    b.input_gradient(g2, out_gradient, last_[false], h2, all);
    const at::Tensor v_g2 = at::where(open2, at::matmul(g_values, of("last")), 0.0);
    expect_near(read_gradient(g2), v_g2, "input gradient");
    b.input_gradient(g1, g2, second_[false], h1, {8, c.rows - 8});
    b.input_gradient(g1, g2, second_[false], h1, {0, 8});
    const at::Tensor v_g1 =
        at::where(open1, at::matmul(v_g2, of("second").narrow(2, 0, c.width)), 0.0);
    expect_near(read_gradient(g1), v_g1, "input gradient, rows in two parts");
    const at::Tensor z_gradient = plain(random({c.rows, c.joined}));
    b.head_gradient(z_gradient, g2, joined_[false], false, all);
    b.head_gradient(z_gradient, g2, joined_[false], true, {8, c.rows - 8});
    at::Tensor v_z = at::matmul(v_g2, joined_part()).clone();
    v_z.narrow(1, 8, c.rows - 8).mul_(2.0);
    expect_near(z_gradient, v_z, "head gradient");

    // gradients of parameters: what is not written stays
    at::Tensor expected = values(gradients_).clone();
    const auto expect_part = [&](const std::string& name, const at::Tensor& part) {
      narrow(expected, name).copy_(part.reshape(narrow(expected, name).sizes()));
    };
    b.weight_gradient(last_[false], h2, out_gradient, offset("last_bias"), all);
    b.weight_gradient(second_[false], h1, g2, offset("second_bias"), all);
    b.weight_gradient(joined_[false], z, g2, std::nullopt, all);
    b.weight_gradient(first_[false], x, g1, offset("first_bias"), {0, c.rows});
    expect_part("last", at::matmul(g_values.transpose(1, 2), v2));
    expect_part("last_bias", g_values.sum(1));
    expect_part("second", at::matmul(v_g2.transpose(1, 2), at::cat({v1, z_values}, 2)));
    expect_part("second_bias", v_g2.sum(1));
    expect_part("first", at::matmul(v_g1.transpose(1, 2), x_values));
    expect_part("first_bias", v_g1.sum(1));

    // one-hot inputs
    b.one_hot_linear(n, hot_, offset("hot_bias"));
    const at::Tensor v_n = (of("hot").transpose(1, 2) + bias("hot_bias")).relu();
    const RowRange hot_rows{0, c.one_hot};
    const at::Tensor hot_read = b.plain({c.one_hot, c.width});
    b.head(hot_read, {{n, identity_}}, std::nullopt, HeadForm::kLinear, hot_rows);
    expect_near(hot_read, v_n, "one-hot linear");
    const at::Tensor upstream = random({c.one_hot, c.outputs});
    b.load(out_gradient, plain(upstream), 0, hot_rows);
    b.input_gradient(n_gradient, out_gradient, last_[false], n, hot_rows);
    const at::Tensor v_ng = at::where(values(hot_read) > 0, at::matmul(upstream, of("last")), 0.0);
    b.one_hot_gradient(hot_, n_gradient, offset("hot_bias"));
    expect_part("hot", v_ng.transpose(1, 2));
    expect_part("hot_bias", v_ng.sum(1));
    expect_near(gradients_, expected, "gradients of parameters");

    // changed parameters count after `refresh`
    value("first").mul_(-1.0);
    flat_.copy_(values_.reshape(flat_.sizes()));
    b.refresh();
    b.linear(h1, {{x, first_[false]}}, offset("first_bias"), {}, all);
    expect_near(read(h1), times(x_values, of("first")).add(bias("first_bias")).relu(),
                "linear after refresh");
  }

 private:
  void add(const std::string& name, std::vector<int64_t> shape) {
    int64_t size = 1;
    for (const int64_t extent : shape) size *= extent;
    const double bound = 2.0 / std::sqrt(static_cast<double>(shape.back()));
    names_.push_back({name, total_, shape});
    parts_.push_back(random({size}, -bound, bound));
    total_ += size;
  }
  struct Name {
    std::string name;
    int64_t offset;
    std::vector<int64_t> shape;
  };
  const Name& named(const std::string& name) const {
    for (const Name& known : names_) {
      if (known.name == name) return known;
    }
    throw std::out_of_range(name);
  }
  int64_t offset(const std::string& name) const { return named(name).offset; }
  at::Tensor narrow(const at::Tensor& flat, const std::string& name) const {
    const Name& known = named(name);
    int64_t size = 1;
    for (const int64_t extent : known.shape) size *= extent;
    return flat.narrow(1, known.offset, size).unflatten(1, known.shape);
  }
  at::Tensor value(const std::string& name) {
    if (values_.defined()) return narrow(values_, name);
    // still in parts
    return parts_.back().view({sizes_.seeds(), named(name).shape[0], named(name).shape[1]});
  }
  // [seeds, out, in]
  at::Tensor of(const std::string& name, bool target = false) const {
    return narrow(target ? target_values_ : values_, name);
  }
  at::Tensor bias(const std::string& name, bool target = false) const {
    return of(name, target).unsqueeze(1);
  }
  at::Tensor joined_part() const { return of("second").narrow(2, sizes_.width, sizes_.joined); }
  static at::Tensor times(const at::Tensor& x, const at::Tensor& weight) {
    return at::matmul(x, weight.transpose(1, 2));
  }
  WeightId weight(const std::string& name, int64_t column, int64_t columns, bool target) {
    const Name& known = named(name);
    return backend().add_weight({known.offset + column, known.shape[0], columns, known.shape[1],
                                 target, /*input_gradient=*/!target});
  }
  const at::Tensor& read(MatrixId matrix) {
    backend().head(read_, {{matrix, identity_}}, std::nullopt, HeadForm::kLinear, {0, sizes_.rows});
    return read_;
  }
  const at::Tensor& read_gradient(MatrixId matrix) {
    backend().head_gradient(read_, matrix, identity_, false, {0, sizes_.rows});
    return read_;
  }

  std::vector<Name> names_;
  std::vector<at::Tensor> parts_;
  int64_t total_ = 0;
  at::Tensor values_, target_values_;     // [seeds, P] in float64
  at::Tensor flat_, target_, gradients_;  // the backend's
  WeightId first_[2], second_[2], joined_[2], last_[2], hot_, identity_;
  at::Tensor read_;
};

/// What stands between the layers, held against the CPU backend in float64, seed by seed.
class BetweenCheck : public BackendCheck {
 public:
  using BackendCheck::BackendCheck;

  void run() {
    const at::NoGradGuard no_grad;
    gather_and_scatter();
    for (const bool learned : {false, true}) behaviour(learned);
    posterior();
    for (const MultiplierForm form :
         {MultiplierForm::kHinge, MultiplierForm::kProjected, MultiplierForm::kLog}) {
      for (const double threshold : {-0.5, 0.5}) scores(form, threshold, true, true);
    }
    scores(MultiplierForm::kHinge, -0.5, /*conservative=*/false, /*measure=*/true);
    scores(MultiplierForm::kHinge, -0.5, /*conservative=*/false, /*measure=*/false);
    updates();
    ascents();
  }

 private:
  at::Tensor metrics() {
    at::Tensor slots = backend().plain({kMetricSlots}).to(at::kDouble);
    slots.fill_(0.25);
    slots.select(-1, kBadStepSlot).fill_(-1.0);
    return slots;
  }
  static at::Tensor host_metrics() {
    at::Tensor slots = at::full({kMetricSlots}, 0.25, at::kDouble);
    slots[kBadStepSlot] = -1.0;
    return slots;
  }

  void gather_and_scatter() {
    const BackendCase& c = sizes_;
    DenseBackend& b = backend();
    const at::Tensor table = random({c.one_hot, c.joined});
    const at::Tensor subtasks =
        random({c.rows}, 0.0, static_cast<double>(c.one_hot) - 2.0).to(at::kLong);
    const at::Tensor device_table = plain(table);
    const at::Tensor device_index = index(subtasks);
    const at::Tensor out = plain(random({c.rows, c.joined}));
    const int64_t rows = c.rows - 3;
    at::Tensor expected = values(out).clone();
    const at::Tensor wanted = subtasks.narrow(1, 0, rows).unsqueeze(2).expand({-1, -1, c.joined});
    expected.narrow(1, 0, rows).copy_(table.gather(1, wanted));
    b.gather(out, device_table, device_index, rows);
    expect_near(out, expected, "gather");

    const at::Tensor from = random({c.rows, c.joined});
    const at::Tensor sums = plain(random({c.one_hot, c.joined}));
    b.scatter(sums, plain(from), device_index, rows);
    expect_near(sums, at::zeros_like(table).scatter_add(1, wanted, from.narrow(1, 0, rows)),
                "scatter");
  }

  // z = mean + exp(log_std) noise of a CVAE's encoder, and the way back, against autograd
  void posterior() {
    const BackendCase& c = sizes_;
    const at::AutoGradMode with_gradient(true);
    const int64_t d = c.joined;
    const int64_t batch = c.rows - 2;
    const double kl_weight = 0.7;
    // one log_std on either side of its limits, [-4, 15]
    at::Tensor out = random({c.rows, 2 * d}, -1.5, 1.0);
    out.select(-1, d).select(1, 0).fill_(-4.5);
    out.select(-1, d).select(1, 1).fill_(15.5);
    const at::Tensor noise = random({c.rows, d});
    const at::Tensor z_gradient = random({c.rows, d});

    const at::Tensor z = plain(random({c.rows, d}));
    at::Tensor expected_z = values(z).clone();
    backend().sample_posterior(z, plain(out), plain(noise), batch);
    const at::Tensor rows = out.narrow(1, 0, batch).clone().requires_grad_(true);
    const at::Tensor mean = rows.narrow(2, 0, d);
    const at::Tensor log_std = rows.narrow(2, d, d).clamp(-4.0, 15.0);
    const at::Tensor sampled = mean + log_std.exp() * noise.narrow(1, 0, batch);
    expected_z.narrow(1, 0, batch).copy_(sampled.detach());
    expect_each_near(z, expected_z, "posterior's sample");

    const at::Tensor kl =
        0.5 * (mean.pow(2) + (2 * log_std).exp() - 1 - 2 * log_std).sum({1, 2}) / batch;
    const at::Tensor total =
        (sampled * z_gradient.narrow(1, 0, batch)).sum() + kl_weight * kl.sum();
    const at::Tensor gradient = plain(at::zeros_like(out));
    at::Tensor expected = at::zeros_like(out);
    expected.narrow(1, 0, batch).copy_(torch::autograd::grad({total}, {rows})[0]);
    const at::Tensor slots = metrics();
    backend().posterior_gradient(
        {plain(out), plain(noise), plain(z_gradient), kl_weight, batch, gradient}, slots);
    expect_each_near(gradient, expected, "posterior's gradient");
    at::Tensor expected_slots =
        at::stack(std::vector<at::Tensor>(static_cast<size_t>(c.seeds()), host_metrics()));
    expected_slots.select(1, kKlSlot).copy_(kl.detach());
    expect_each_near(slots, expected_slots, "kl");
  }

  void behaviour(bool learned) {
    const BackendCase& c = sizes_;
    CpuBackend<double> reference;
    const at::Tensor mean = random({c.rows, c.outputs});
    const at::Tensor actions = random({c.rows, c.outputs});
    // parts of a larger buffer, one of them outside of its limits
    const at::Tensor buffer = random({c.outputs + 3}, -1.0, 1.0);
    buffer.select(1, 1).fill_(2.5);
    const at::Tensor device_buffer = plain(buffer);
    const at::Tensor device_gradient = plain(random({c.outputs + 3}));
    const at::Tensor expected_buffer = values(device_gradient).clone();
    const at::Tensor slots = metrics();
    const at::Tensor mean_gradient = plain(at::zeros_like(mean));
    const int64_t batch = c.rows - 2;
    BehaviourLoss loss{plain(mean), plain(actions), {}, batch, mean_gradient, {}};
    if (learned) {
      loss.log_std = device_buffer.narrow(-1, 1, c.outputs);
      loss.log_std_gradient = device_gradient.narrow(-1, 1, c.outputs);
    }
    backend().behaviour_loss(loss, slots);

    std::vector<at::Tensor> all_slots, gradients;
    for (int64_t s = 0; s < c.seeds(); ++s) {
      all_slots.push_back(host_metrics());
      gradients.push_back(at::zeros_like(mean[s]));
      BehaviourLoss one{mean[s], actions[s], {}, batch, gradients.back(), {}};
      if (learned) {
        one.log_std = buffer[s].narrow(0, 1, c.outputs);
        one.log_std_gradient = expected_buffer[s].narrow(0, 1, c.outputs);
      }
      reference.behaviour_loss(one, all_slots.back());
    }
    expect_near(slots, at::stack(all_slots), "behaviour loss");
    expect_near(mean_gradient, at::stack(gradients), "behaviour gradient");
    expect_near(device_gradient, expected_buffer, "gradient of log_std");
  }

  void scores(MultiplierForm form, double threshold, bool conservative, bool measure) {
    const BackendCase& c = sizes_;
    CpuBackend<double> reference;
    const int64_t block = c.rows;
    const int64_t batch = c.rows - 3;
    const at::Tensor all = random({3 * block, 1});
    const at::Tensor next = random({block, 1});
    const at::Tensor rewards = random({block});
    const at::Tensor terminals = random({block}, 0.0, 2.0).floor();
    const at::Tensor start = random({1}, 0.5, 1.5).squeeze(1);
    const at::Tensor slots = metrics();
    const at::Tensor gradient = plain(at::zeros_like(all));
    const auto scalar = [&](const at::Tensor& from) {
      const at::Tensor tensor = backend().plain({});
      tensor.copy_(from.reshape(tensor.sizes()));
      return tensor;
    };
    const at::Tensor zeros = at::zeros({c.seeds()}, at::kDouble);
    const at::Tensor multiplier = scalar(start);
    ScoreLosses losses{plain(all),    plain(next), plain(rewards), plain(terminals), batch,
                       block,         0.9,         measure,        conservative,     form,
                       0.01,          threshold,   multiplier,     scalar(zeros),    scalar(zeros),
                       scalar(zeros), gradient};
    std::vector<ScoreLosses> each;
    std::vector<at::Tensor> all_slots;
    for (int64_t s = 0; s < c.seeds(); ++s) {
      ScoreLosses one = losses;
      one.scores = all[s].clone();
      one.next_scores = next[s];
      one.rewards = rewards[s];
      one.terminals = terminals[s];
      one.multiplier = start[s].clone();
      one.exp_avg = at::zeros({}, at::kDouble);
      one.exp_avg_sq = at::zeros({}, at::kDouble);
      one.step_count = at::zeros({}, at::kFloat);
      one.score_gradient = at::zeros_like(all[s]);
      each.push_back(one);
      all_slots.push_back(host_metrics());
    }
    // twice: the multiplier's own state counts
    for (int step = 0; step < 2; ++step) {
      bool needed = false;
      for (int64_t s = 0; s < c.seeds(); ++s)
        needed = reference.score_losses(each[s], all_slots[s]) || needed;
      const bool said = backend().score_losses(losses, slots);
      EXPECT_TRUE(said || !needed);
    }
    const auto stacked = [&](at::Tensor ScoreLosses::*member) {
      std::vector<at::Tensor> tensors;
      for (const ScoreLosses& one : each) tensors.push_back((one.*member).to(at::kDouble));
      return at::stack(tensors);
    };
    const std::string what = "scores, " + to_string(form) + ": ";
    expect_near(slots, at::stack(all_slots), what + "metrics");
    expect_near(gradient, stacked(&ScoreLosses::score_gradient), what + "gradient");
    expect_near(multiplier, stacked(&ScoreLosses::multiplier), what + "multiplier");
    expect_near(losses.exp_avg, stacked(&ScoreLosses::exp_avg), what + "moment");
    expect_near(losses.step_count, stacked(&ScoreLosses::step_count), what + "step count");
  }

  // a backend of its own: `update` refreshes what is bound
  void updates() {
    const BackendCase& c = sizes_;
    const std::unique_ptr<DenseBackend> own = c.make(c.num_seeds);
    CpuBackend<double> reference;
    constexpr int64_t kSize = 3001;
    constexpr int64_t kTarget = 1500;
    constexpr int64_t kSource = 701;
    const at::Tensor parameters = random({kSize});
    const at::Tensor target = random({kTarget});
    const at::Tensor gradients = random({kSize});
    const at::Tensor slots = metrics();
    const at::Tensor step = backend().plain_index({1});
    const at::Tensor zeros = at::zeros_like(parameters);
    const at::Tensor count = backend().plain({});
    ParameterUpdate update{
        plain(parameters), plain(gradients), plain(zeros), plain(zeros), count, 0.01,
        plain(target),     kSource,          0.1};
    own->add_weight({0, 4, 8, 8, false, true});
    own->bind(update.parameters, update.target, update.gradients);
    own->refresh();
    std::vector<ParameterUpdate> each;
    std::vector<at::Tensor> all_slots, steps;
    for (int64_t s = 0; s < c.seeds(); ++s) {
      each.push_back({parameters[s].clone(), gradients[s].clone(), zeros[s].clone(),
                      zeros[s].clone(), at::zeros({}, at::kFloat), 0.01, target[s].clone(), kSource,
                      0.1});
      all_slots.push_back(host_metrics());
      steps.push_back(at::zeros({1}, at::kLong));
    }
    const auto expect_same = [&] {
      const auto stacked = [&](at::Tensor ParameterUpdate::*member) {
        std::vector<at::Tensor> tensors;
        for (const ParameterUpdate& one : each) tensors.push_back((one.*member).to(at::kDouble));
        return at::stack(tensors);
      };
      expect_near(slots, at::stack(all_slots), "first bad step");
      expect_near(step, at::stack(steps).to(at::kDouble), "step");
      expect_near(update.step_count, stacked(&ParameterUpdate::step_count), "Adam's step");
      expect_near(update.parameters, stacked(&ParameterUpdate::parameters), "parameters");
      expect_near(update.target, stacked(&ParameterUpdate::target), "target");
      expect_near(update.exp_avg_sq, stacked(&ParameterUpdate::exp_avg_sq), "second moment");
    };
    const auto both = [&] {
      for (int64_t s = 0; s < c.seeds(); ++s) reference.update(each[s], all_slots[s], steps[s]);
      own->update(update, slots, step);
    };
    for (int i = 0; i < 3; ++i) both();
    expect_same();
    // the first step with a gradient that is not finite is remembered
    update.gradients.select(-1, kSize - 1).fill_(std::numeric_limits<double>::quiet_NaN());
    for (ParameterUpdate& one : each)
      one.gradients[kSize - 1] = std::numeric_limits<double>::quiet_NaN();
    both();
    both();
    expect_near(slots, at::stack(all_slots), "bad step");
    EXPECT_EQ(values(slots)[0][kBadStepSlot].item<double>(), 3.0);
  }

  void ascents() {
    const BackendCase& c = sizes_;
    CpuBackend<double> reference;
    const int64_t rows = c.rows - 1;
    at::Tensor gradient = random({c.rows, c.joined});
    gradient.select(1, 2).zero_();
    for (const bool normalise : {false, true}) {
      for (const std::optional<double> bound : {std::optional<double>(), std::optional(0.8)}) {
        const at::Tensor start = random({c.rows, c.joined}, -0.8, 0.8);
        const at::Tensor z = plain(start);
        backend().ascend(z, plain(gradient), 0.3, normalise, bound, rows);
        for (int64_t s = 0; s < c.seeds(); ++s)
          reference.ascend(start[s], gradient[s].contiguous(), 0.3, normalise, bound, rows);
        expect_near(z, start, "ascend");
      }
    }
    const at::Tensor tanh_values = random({c.rows, c.joined});
    const at::Tensor through = plain(gradient);
    backend().through_tanh(through, plain(tanh_values), rows);
    at::Tensor expected = gradient.clone();
    expected.narrow(1, 0, rows).mul_((1.0 - tanh_values * tanh_values).narrow(1, 0, rows));
    expect_near(through, expected, "through tanh");

    const at::Tensor best_z = random({c.rows, c.joined});
    const at::Tensor best = random({c.rows, 1});
    const at::Tensor z = random({c.rows, c.joined});
    const at::Tensor now = random({c.rows, 1});
    now.select(1, 3).fill_(std::numeric_limits<double>::quiet_NaN());
    const at::Tensor device_z = plain(best_z);
    const at::Tensor device_best = plain(best);
    backend().keep_best(device_z, device_best, plain(z), plain(now), rows);
    at::Tensor taken = now > best;
    taken.narrow(1, rows, c.rows - rows).fill_(false);
    expect_near(device_z, at::where(taken, z, best_z), "keep best: z");
    expect_near(device_best, at::where(taken, now, best), "keep best: scores");
  }
};

}  // namespace drop::testing
