#include "kernels/cpu_backend.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "kernels/arithmetic.h"

namespace drop {

namespace {

size_t index_of(MatrixId matrix) { return static_cast<size_t>(matrix); }
size_t index_of(WeightId weight) { return static_cast<size_t>(weight); }

// calls body(row) for all rows, on all threads where the rows are long enough to pay
template <typename Body>
void for_each_row(int64_t rows, int64_t width, const Body& body) {
  constexpr int64_t kGrain = 32768;  // values
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

template <typename Real>
Real* data(const at::Tensor& tensor) {
  return tensor.data_ptr<Real>();
}

// one Adam step of a single number, as at::_fused_adam_ makes it
template <typename Real>
void adam_scalar(Real& parameter, Real& exp_avg, Real& exp_avg_sq, float& count, double gradient,
                 double rate) {
  count += 1.0f;
  exp_avg = static_cast<Real>(arithmetic::kBeta1 * exp_avg + (1.0 - arithmetic::kBeta1) * gradient);
  exp_avg_sq = static_cast<Real>(arithmetic::kBeta2 * exp_avg_sq +
                                 (1.0 - arithmetic::kBeta2) * gradient * gradient);
  const double first = 1.0 - std::pow(arithmetic::kBeta1, count);
  const double second = 1.0 - std::pow(arithmetic::kBeta2, count);
  parameter -= static_cast<Real>(
      rate / first * exp_avg / (std::sqrt(exp_avg_sq) / std::sqrt(second) + arithmetic::kEpsilon));
}

template <typename Real>
double mean_of(const Real* values, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]);
  return sum / static_cast<double>(count);
}

}  // namespace

// ---- set-up ------------------------------------------------------------------------------------

template <typename Real>
MatrixId CpuBackend<Real>::add_matrix(int64_t rows, int64_t width, MatrixUse) {
  matrices_.push_back(plain({rows, width}));
  return static_cast<MatrixId>(matrices_.size() - 1);
}

template <typename Real>
WeightId CpuBackend<Real>::add_weight(const WeightPart& part) {
  parts_.push_back(part);
  return static_cast<WeightId>(parts_.size() - 1);
}

template <typename Real>
at::Tensor CpuBackend<Real>::plain(at::IntArrayRef shape) const {
  return at::zeros(shape, at::CppTypeToScalarType<Real>::value);
}

template <typename Real>
at::Tensor CpuBackend<Real>::plain_index(at::IntArrayRef shape) const {
  return at::zeros(shape, at::kLong);
}

template <typename Real>
void CpuBackend<Real>::bind(const at::Tensor& parameters, const at::Tensor& target_parameters,
                            const at::Tensor& gradients) {
  parameters_ = parameters.detach();
  target_parameters_ = target_parameters.detach();
  gradients_ = gradients;
  weights_.clear();
  weight_gradients_.clear();
  for (size_t i = 0; i < parts_.size(); ++i) {
    const auto weight = static_cast<WeightId>(i);
    const bool target = parts_[i].target;
    weights_.push_back(weight_view(target ? target_parameters_ : parameters_, weight));
    weight_gradients_.push_back(target || !gradients_.defined() ? at::Tensor()
                                                                : weight_view(gradients_, weight));
  }
}

template <typename Real>
const WeightPart& CpuBackend<Real>::part(WeightId weight) const {
  return parts_[index_of(weight)];
}

template <typename Real>
const Real* CpuBackend<Real>::bias_values(WeightId weight, int64_t offset) const {
  return data<Real>(part(weight).target ? target_parameters_ : parameters_) + offset;
}

template <typename Real>
at::Tensor CpuBackend<Real>::weight_view(const at::Tensor& flat, WeightId weight) const {
  const WeightPart& p = part(weight);
  return flat.as_strided({p.out, p.columns}, {p.stride, 1}, flat.storage_offset() + p.offset);
}

template <typename Real>
at::Tensor CpuBackend<Real>::rows_of(MatrixId matrix, RowRange rows) const {
  return matrices_[index_of(matrix)].narrow(0, rows.begin, rows.count);
}

// ---- layers ------------------------------------------------------------------------------------

template <typename Real>
void CpuBackend<Real>::multiply(const at::Tensor& out, std::initializer_list<Product> products,
                                RowRange rows) const {
  bool first = true;
  at::Tensor result = out;
  for (const Product& product : products) {
    const at::Tensor x = rows_of(product.x, rows);
    const at::Tensor weight = weights_[index_of(product.weight)].t();
    if (first)
      at::mm_out(result, x, weight);
    else
      result.addmm_(x, weight);
    first = false;
  }
}

template <typename Real>
void CpuBackend<Real>::linear(MatrixId out, std::initializer_list<Product> products,
                              std::optional<int64_t> bias, const SharedSum& shared, RowRange rows) {
  const at::Tensor result = rows_of(out, rows);
  multiply(result, products, rows);
  // bias, shared sum and ReLU in one pass while the rows are in the cache
  const int64_t width = result.size(1);
  Real* values = data<Real>(result);
  const Real* offsets = bias ? bias_values(products.begin()->weight, *bias) : nullptr;
  const Real* sums = shared.values.defined() ? data<Real>(shared.values) : nullptr;
  for_each_row(rows.count, width, [&](int64_t row) {
    Real* __restrict v = values + row * width;
    if (sums != nullptr) {
      const Real* __restrict sum = sums + (rows.begin + row) / shared.group * width;
      for (int64_t c = 0; c < width; ++c) v[c] += sum[c];
    }
    if (offsets != nullptr) {
      for (int64_t c = 0; c < width; ++c) v[c] += offsets[c];
    }
    for (int64_t c = 0; c < width; ++c) v[c] = v[c] < Real(0) ? Real(0) : v[c];  // NaN stays
  });
}

template <typename Real>
void CpuBackend<Real>::head(const at::Tensor& out, std::initializer_list<Product> products,
                            std::optional<int64_t> bias, HeadForm form, RowRange rows) {
  const at::Tensor result = out.narrow(0, rows.begin, rows.count);
  multiply(result, products, rows);
  const int64_t width = result.size(1);
  Real* values = data<Real>(result);
  const Real* offsets = bias ? bias_values(products.begin()->weight, *bias) : nullptr;
  for_each_row(rows.count, width, [&](int64_t row) {
    Real* v = values + row * width;
    if (offsets != nullptr) {
      for (int64_t c = 0; c < width; ++c) v[c] += offsets[c];
    }
    if (form == HeadForm::kTanh) {
      for (int64_t c = 0; c < width; ++c) v[c] = std::tanh(v[c]);
    }
  });
}

template <typename Real>
void CpuBackend<Real>::one_hot_linear(MatrixId out, WeightId weight, int64_t bias) {
  const at::Tensor& result = matrices_[index_of(out)];
  const int64_t width = result.size(1);
  const int64_t inputs = part(weight).columns;
  Real* values = data<Real>(result);
  const Real* w = data<Real>(weights_[index_of(weight)]);
  const Real* offsets = bias_values(weight, bias);
  const int64_t stride = part(weight).stride;
  for_each_row(inputs, width, [&](int64_t n) {
    for (int64_t c = 0; c < width; ++c) {
      const Real sum = w[c * stride + n] + offsets[c];
      values[n * width + c] = sum < Real(0) ? Real(0) : sum;
    }
  });
}

template <typename Real>
void CpuBackend<Real>::load(MatrixId out, const at::Tensor& values, int64_t column, RowRange rows) {
  const at::Tensor& matrix = matrices_[index_of(out)];
  const int64_t width = matrix.size(1);
  const int64_t columns = values.size(-1);
  Real* to = data<Real>(matrix) + rows.begin * width + column;
  const Real* from = data<Real>(values);
  for (int64_t row = 0; row < rows.count; ++row)
    std::copy_n(from + row * columns, columns, to + row * width);
}

// ---- gradients ---------------------------------------------------------------------------------

template <typename Real>
void CpuBackend<Real>::input_gradient(MatrixId out, MatrixId gradient, WeightId weight,
                                      MatrixId mask, RowRange rows) {
  at::Tensor result = rows_of(out, rows);
  at::mm_out(result, rows_of(gradient, rows), weights_[index_of(weight)]);
  const int64_t width = result.size(1);
  Real* values = data<Real>(result);
  const Real* hidden = data<Real>(rows_of(mask, rows));
  for_each_row(rows.count, width, [&](int64_t row) {
    Real* __restrict v = values + row * width;
    const Real* __restrict h = hidden + row * width;
    for (int64_t c = 0; c < width; ++c) v[c] = h[c] > Real(0) ? v[c] : Real(0);
  });
}

template <typename Real>
void CpuBackend<Real>::head_gradient(const at::Tensor& out, MatrixId gradient, WeightId weight,
                                     bool accumulate, RowRange rows) {
  at::Tensor result = out.narrow(0, rows.begin, rows.count);
  const at::Tensor& w = weights_[index_of(weight)];
  if (accumulate)
    result.addmm_(rows_of(gradient, rows), w);
  else
    at::mm_out(result, rows_of(gradient, rows), w);
}

template <typename Real>
void CpuBackend<Real>::weight_gradient(WeightId weight, MatrixId x, MatrixId gradient,
                                       std::optional<int64_t> bias, RowRange rows) {
  const at::Tensor g = rows_of(gradient, rows);
  at::mm_out(weight_gradients_[index_of(weight)], g.t(), rows_of(x, rows));
  if (!bias) return;
  at::Tensor sums = gradients_.narrow(0, *bias, part(weight).out);
  at::sum_out(sums, g, at::IntArrayRef{0});
}

template <typename Real>
void CpuBackend<Real>::one_hot_gradient(WeightId weight, MatrixId gradient, int64_t bias) {
  const WeightPart& p = part(weight);
  const at::Tensor g = rows_of(gradient, {0, p.columns});
  weight_gradients_[index_of(weight)].copy_(g.t());
  at::Tensor sums = gradients_.narrow(0, bias, p.out);
  at::sum_out(sums, g, at::IntArrayRef{0});
}

// ---- what stands between the layers ------------------------------------------------------------

template <typename Real>
void CpuBackend<Real>::gather(const at::Tensor& out, const at::Tensor& table,
                              const at::Tensor& index, int64_t rows) {
  const int64_t width = table.size(-1);
  const int64_t* n = data<int64_t>(index);
  for (int64_t row = 0; row < rows; ++row)
    std::copy_n(data<Real>(table) + n[row] * width, width, data<Real>(out) + row * width);
}

template <typename Real>
void CpuBackend<Real>::scatter(const at::Tensor& out, const at::Tensor& values,
                               const at::Tensor& index, int64_t rows) {
  const int64_t width = out.size(-1);
  const int64_t* n = data<int64_t>(index);
  const Real* from = data<Real>(values);
  Real* to = data<Real>(out);
  std::fill_n(to, out.numel(), Real(0));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < width; ++c) to[n[row] * width + c] += from[row * width + c];
  }
}

template <typename Real>
void CpuBackend<Real>::behaviour_loss(const BehaviourLoss& loss, const at::Tensor& metrics) {
  const int64_t dims = loss.mean.size(-1);
  const auto batch = static_cast<double>(loss.batch_size);
  std::vector<double> inverse_std(static_cast<size_t>(dims), 1.0);
  std::vector<double> squares(static_cast<size_t>(dims), 0.0);  // of the standardised errors
  double total = 0.0;
  if (loss.log_std.defined()) {
    for (int64_t j = 0; j < dims; ++j) {
      const double log_std = std::clamp<double>(data<Real>(loss.log_std)[j], arithmetic::kMinLogStd,
                                                arithmetic::kMaxLogStd);
      inverse_std[static_cast<size_t>(j)] = std::exp(-log_std);
      total += batch * log_std;
    }
  }
  const Real* mean = data<Real>(loss.mean);
  const Real* actions = data<Real>(loss.actions);
  Real* gradient = data<Real>(loss.mean_gradient);
  for (int64_t row = 0; row < loss.batch_size; ++row) {
    for (int64_t j = 0; j < dims; ++j) {
      const int64_t at = row * dims + j;
      const double inverse = inverse_std[static_cast<size_t>(j)];
      const double error = (static_cast<double>(mean[at]) - actions[at]) * inverse;
      squares[static_cast<size_t>(j)] += error * error;
      const double slope = 1.0 - static_cast<double>(mean[at]) * mean[at];
      gradient[at] = static_cast<Real>(error * inverse / batch * slope);
    }
  }
  for (const double square : squares) total += 0.5 * square;
  data<double>(metrics)[kBehaviourSlot] = static_cast<Real>(total / batch);

  // the clamp lets no gradient through outside its limits
  if (!loss.log_std_gradient.defined()) return;
  for (int64_t j = 0; j < dims; ++j) {
    const double log_std = data<Real>(loss.log_std)[j];
    const bool inside = log_std >= arithmetic::kMinLogStd && log_std <= arithmetic::kMaxLogStd;
    data<Real>(loss.log_std_gradient)[j] =
        inside ? static_cast<Real>(1.0 - squares[static_cast<size_t>(j)] / batch) : Real(0);
  }
}

template <typename Real>
void CpuBackend<Real>::sample_posterior(const at::Tensor& z, const at::Tensor& posterior,
                                        const at::Tensor& noise, int64_t rows) {
  const int64_t d = z.size(-1);
  for (int64_t row = 0; row < rows; ++row) {
    const Real* mean = data<Real>(posterior) + row * 2 * d;
    for (int64_t j = 0; j < d; ++j) {
      data<Real>(z)[row * d + j] =
          arithmetic::posterior_sample(mean[j], mean[d + j], data<Real>(noise)[row * d + j]);
    }
  }
}

template <typename Real>
void CpuBackend<Real>::posterior_gradient(const PosteriorLoss& loss, const at::Tensor& metrics) {
  const int64_t d = loss.noise.size(-1);
  const auto batch = static_cast<double>(loss.batch_size);
  const auto weight = static_cast<Real>(loss.kl_weight / batch);
  double total = 0.0;
  for (int64_t row = 0; row < loss.batch_size; ++row) {
    const Real* mean = data<Real>(loss.posterior) + row * 2 * d;
    Real* out = data<Real>(loss.gradient) + row * 2 * d;
    for (int64_t j = 0; j < d; ++j) {
      total += arithmetic::posterior_kl(mean[j], mean[d + j]);
      const auto gradient =
          arithmetic::posterior_gradient(mean[j], mean[d + j], data<Real>(loss.noise)[row * d + j],
                                         data<Real>(loss.z_gradient)[row * d + j], weight);
      out[j] = gradient.mean;
      out[d + j] = gradient.log_std;
    }
  }
  data<double>(metrics)[kKlSlot] = static_cast<Real>(total / batch);
}

template <typename Real>
bool CpuBackend<Real>::score_losses(const ScoreLosses& l, const at::Tensor& metrics) {
  const Real* scores = data<Real>(l.scores);
  const Real* next = data<Real>(l.next_scores);
  const Real* rewards = data<Real>(l.rewards);
  const Real* terminals = data<Real>(l.terminals);
  Real* gradient = data<Real>(l.score_gradient);
  double* slots = data<double>(metrics);
  const auto batch = static_cast<double>(l.batch_size);

  // temporal difference
  double td = 0.0;
  for (int64_t row = 0; row < l.batch_size; ++row) {
    const double target = static_cast<double>(rewards[row]) +
                          l.discount * (1.0 - terminals[row]) * static_cast<double>(next[row]);
    const double error = static_cast<double>(scores[row]) - target;
    td += error * error;
    gradient[row] = static_cast<Real>(2.0 * error / batch);
  }
  slots[kTdSlot] = static_cast<Real>(td / batch);  // overflows as the weights would
  slots[kMeanScoreSlot] = mean_of(scores, l.batch_size);

  // conservative gap, and what multiplies it in f's loss
  Real& parameter = *data<Real>(l.multiplier);
  const arithmetic::MultiplierRule rule{l.form == MultiplierForm::kHinge,
                                        l.form == MultiplierForm::kLog, l.multiplier_rate,
                                        l.threshold};
  if (l.measure_gap) {
    slots[kGapSlot] =
        mean_of(scores + l.block, l.batch_size) - mean_of(scores + 2 * l.block, l.batch_size);
  }
  const double weight =
      l.conservative ? arithmetic::gap_weight(rule, parameter, slots[kGapSlot]) : 0.0;
  std::fill_n(gradient + l.block, l.batch_size, static_cast<Real>(weight / batch));
  std::fill_n(gradient + 2 * l.block, l.batch_size, static_cast<Real>(-weight / batch));

  // the multiplier's own step
  const double violation = slots[kGapSlot] - l.threshold;
  if (l.conservative && rule.logarithmic) {
    adam_scalar(parameter, *data<Real>(l.exp_avg), *data<Real>(l.exp_avg_sq),
                *data<float>(l.step_count), -weight * violation, l.multiplier_rate);
    parameter = std::min(parameter, static_cast<Real>(std::log(arithmetic::kLargestMultiplier)));
  } else if (l.conservative) {
    parameter = static_cast<Real>(
        std::clamp(parameter + l.multiplier_rate * violation, 0.0, arithmetic::kLargestMultiplier));
  }
  slots[kMultiplierSlot] = arithmetic::multiplier_value(rule, parameter);
  return weight != 0.0;
}

template <typename Real>
void CpuBackend<Real>::finish_step(double gradient_sum, const at::Tensor& metrics,
                                   const at::Tensor& step) {
  double* slots = data<double>(metrics);
  int64_t& count = *data<int64_t>(step);
  const double check = gradient_sum + slots[kBehaviourSlot] + slots[kTdSlot] + slots[kGapSlot];
  if (!std::isfinite(check) && slots[kBadStepSlot] < 0) {
    slots[kBadStepSlot] = static_cast<double>(count);
    slots[kBadBehaviourSlot] = slots[kBehaviourSlot];
    slots[kBadTdSlot] = slots[kTdSlot];
    slots[kBadGapSlot] = slots[kGapSlot];
  }
  ++count;
}

template <typename Real>
void CpuBackend<Real>::update(const ParameterUpdate& u, const at::Tensor& metrics,
                              const at::Tensor& step) {
  finish_step(u.gradients.sum().template item<double>(), metrics, step);
  u.step_count.add_(1);
  at::_fused_adam_({u.parameters}, {u.gradients}, {u.exp_avg}, {u.exp_avg_sq},
                   /*max_exp_avg_sqs=*/{}, {u.step_count}, u.learning_rate, arithmetic::kBeta1,
                   arithmetic::kBeta2, /*weight_decay=*/0.0, arithmetic::kEpsilon,
                   /*amsgrad=*/false, /*maximize=*/false);
  u.target.lerp_(u.parameters.narrow(0, u.target_source, u.target.numel()), u.target_rate);
}

template <typename Real>
void CpuBackend<Real>::ascend(const at::Tensor& z, const at::Tensor& gradient, double step_size,
                              bool normalise, std::optional<double> bound, int64_t rows) {
  const int64_t dims = z.size(-1);
  for (int64_t row = 0; row < rows; ++row) {
    Real* to = data<Real>(z) + row * dims;
    const Real* g = data<Real>(gradient) + row * dims;
    double scale = 1.0;
    if (normalise) {
      double squares = 0.0;
      for (int64_t c = 0; c < dims; ++c) squares += static_cast<double>(g[c]) * g[c];
      scale = squares > 0.0 ? 1.0 / std::sqrt(squares) : 0.0;
    }
    for (int64_t c = 0; c < dims; ++c) {
      to[c] += static_cast<Real>(step_size * scale * g[c]);
      if (bound) to[c] = std::clamp(to[c], static_cast<Real>(-*bound), static_cast<Real>(*bound));
    }
  }
}

template <typename Real>
void CpuBackend<Real>::through_tanh(const at::Tensor& gradient, const at::Tensor& values,
                                    int64_t rows) {
  const int64_t count = rows * gradient.size(-1);
  Real* g = data<Real>(gradient);
  const Real* v = data<Real>(values);
  for (int64_t i = 0; i < count; ++i) g[i] *= Real(1) - v[i] * v[i];
}

template <typename Real>
void CpuBackend<Real>::keep_best(const at::Tensor& best_z, const at::Tensor& best_scores,
                                 const at::Tensor& z, const at::Tensor& scores, int64_t rows) {
  const int64_t dims = z.size(-1);
  Real* best = data<Real>(best_scores);
  const Real* now = data<Real>(scores);
  for (int64_t row = 0; row < rows; ++row) {
    if (!(now[row] > best[row])) continue;
    best[row] = now[row];
    std::copy_n(data<Real>(z) + row * dims, dims, data<Real>(best_z) + row * dims);
  }
}

template class CpuBackend<float>;
template class CpuBackend<double>;

}  // namespace drop
