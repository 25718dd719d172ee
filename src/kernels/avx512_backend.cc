#include "kernels/avx512_backend.h"

#include "drop/base/error.h"

#if defined(__x86_64__)

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <new>
#include <optional>
#include <vector>

#include "kernels/avx512_kernels.h"
#include "kernels/cpu_backend.h"
#include "kernels/packed_update.h"

namespace drop {

namespace {

using avx512::groups_for;
using avx512::kGroup;
using avx512::kStrip;
using avx512::Range;

// zero-filled values at a cache line; large ones in large pages, where the system has them
class Storage {
 public:
  explicit Storage(int64_t size) {
    constexpr size_t kLine = 64;
    constexpr size_t kLargePage = size_t{2} << 20;
    const size_t bytes = static_cast<size_t>(size) * sizeof(float);
    const size_t unit = bytes < kLargePage ? kLine : kLargePage;
    const size_t rounded = std::max<size_t>(1, (bytes + unit - 1) / unit) * unit;
    values_.reset(static_cast<float*>(std::aligned_alloc(unit, rounded)));
    if (values_ == nullptr) throw std::bad_alloc();
    if (unit == kLargePage) madvise(values_.get(), rounded, MADV_HUGEPAGE);
    std::fill_n(values_.get(), rounded / sizeof(float), 0.0f);
  }
  float* get() const { return values_.get(); }

 private:
  struct Free {
    void operator()(float* values) const { std::free(values); }
  };
  std::unique_ptr<float, Free> values_;
};

class Avx512Backend final : public CpuBackend<float> {
 public:
  int64_t row_alignment() const override { return kStrip; }
  int64_t preferred_rows() const override { return 256; }
  MatrixId add_matrix(int64_t rows, int64_t width, MatrixUse use) override;
  void bind(const at::Tensor& parameters, const at::Tensor& target_parameters,
            const at::Tensor& gradients) override;
  void refresh() override;

  void linear(MatrixId out, std::initializer_list<Product> products, std::optional<int64_t> bias,
              const SharedSum& shared, RowRange rows) override;
  void head(const at::Tensor& out, std::initializer_list<Product> products,
            std::optional<int64_t> bias, HeadForm form, RowRange rows) override;
  void one_hot_linear(MatrixId out, WeightId weight, int64_t bias) override;
  void load(MatrixId out, const at::Tensor& values, int64_t column, RowRange rows) override;

  void input_gradient(MatrixId out, MatrixId gradient, WeightId weight, MatrixId mask,
                      RowRange rows) override;
  void head_gradient(const at::Tensor& out, MatrixId gradient, WeightId weight, bool accumulate,
                     RowRange rows) override;
  void weight_gradient(WeightId weight, MatrixId x, MatrixId gradient, std::optional<int64_t> bias,
                       RowRange rows) override;
  void one_hot_gradient(WeightId weight, MatrixId gradient, int64_t bias) override;

  void update(const ParameterUpdate& update, const at::Tensor& metrics,
              const at::Tensor& step) override;

 private:
  const avx512::Matrix& form(MatrixId matrix) const { return forms_[static_cast<size_t>(matrix)]; }
  const avx512::Weight& form(WeightId weight) const {
    return weight_forms_[static_cast<size_t>(weight)];
  }
  avx512::Sum forward_sum(std::initializer_list<Product> products) const;
  avx512::Sum backward_sum(MatrixId gradient, WeightId weight) const {
    return {{{form(gradient), form(weight).backward}}, 1};
  }

  void pack(size_t weight, int64_t group) const;

  std::vector<Storage> matrix_storage_;
  std::vector<avx512::Matrix> forms_;
  std::vector<Storage> weight_storage_;
  std::vector<avx512::Weight> weight_forms_;
  std::optional<PackedUpdate> update_;  // made by the first update after `bind`
};

// calls body(begin, end) on all threads, for parts of `count` pieces of so many operations each
template <typename Body>
void share(int64_t count, int64_t flops_each, const Body& body) {
  constexpr int64_t kWorthAThread = 1'000'000;
  at::parallel_for(0, count, std::max<int64_t>(1, kWorthAThread / std::max<int64_t>(1, flops_each)),
                   body);
}

// carries a sum out: each thread takes some strips of the rows or, of few rows, some columns.
// body(rows, groups)
template <typename Body>
void share_product(const avx512::Sum& sum, RowRange rows, const Body& body) {
  constexpr int64_t kStripsWorthAThread = 4;
  int64_t depth = 0;
  for (int i = 0; i < sum.count; ++i) depth += sum.addends[i].weight.depth;
  const Range all_rows{rows.begin, rows.begin + rows.count};
  const Range all_groups{0, groups_for(sum.columns())};
  const int64_t strips = (rows.count + kStrip - 1) / kStrip;
  const int64_t panels = (all_groups.end + 1) / 2;
  const int64_t flops = 2 * rows.count * sum.columns() * depth;
  if (strips >= kStripsWorthAThread * at::get_num_threads() || strips >= panels) {
    share(strips, flops / strips, [&](int64_t begin, int64_t end) {
      body(Range{rows.begin + begin * kStrip, std::min(rows.begin + end * kStrip, all_rows.end)},
           all_groups);
    });
  } else {
    share(panels, flops / panels, [&](int64_t begin, int64_t end) {
      body(all_rows, Range{2 * begin, std::min(2 * end, all_groups.end)});
    });
  }
}

// ---- set-up ------------------------------------------------------------------------------------

MatrixId Avx512Backend::add_matrix(int64_t rows, int64_t width, MatrixUse) {
  avx512::Matrix m;
  m.groups = groups_for(width) | 1;
  matrix_storage_.emplace_back((rows + kStrip - 1) / kStrip * kStrip * m.groups * kGroup);
  m.values = matrix_storage_.back().get();
  forms_.push_back(m);
  return static_cast<MatrixId>(forms_.size() - 1);
}

void Avx512Backend::bind(const at::Tensor& parameters, const at::Tensor& target_parameters,
                         const at::Tensor& gradients) {
  CpuBackend::bind(parameters, target_parameters, gradients);
  // all weights in one run, in the order in which they were added
  weight_forms_.clear();
  update_.reset();
  int64_t size = 0;
  for (const WeightPart& p : parts_) {
    avx512::Weight w;
    w.forward = {nullptr, p.columns, p.out};
    if (p.input_gradient && !p.target) w.backward = {nullptr, p.out, p.columns};
    w.stride = p.stride;
    size += w.forward.size() + w.backward.size();
    weight_forms_.push_back(w);
  }
  weight_storage_.clear();
  float* next = weight_storage_.emplace_back(size).get();
  for (avx512::Weight& w : weight_forms_) {
    for (avx512::Panels* panels : {&w.forward, &w.backward}) {
      if (panels->size() == 0) continue;
      panels->values = next;
      next += panels->size();
    }
  }
}

void Avx512Backend::pack(size_t weight, int64_t group) const {
  const WeightPart& p = parts_[weight];
  const at::Tensor& flat = p.target ? target_parameters_ : parameters_;
  avx512::pack_weight(flat.const_data_ptr<float>() + p.offset, group, weight_forms_[weight]);
}

void Avx512Backend::refresh() {
  at::parallel_for(0, static_cast<int64_t>(parts_.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto w = static_cast<size_t>(begin); w < static_cast<size_t>(end); ++w) {
      for (int64_t group = 0; group < groups_for(parts_[w].out); ++group) pack(w, group);
    }
  });
}

// ---- layers ------------------------------------------------------------------------------------

avx512::Sum Avx512Backend::forward_sum(std::initializer_list<Product> products) const {
  avx512::Sum sum;
  for (const Product& product : products)
    sum.addends[sum.count++] = {form(product.x), form(product.weight).forward};
  return sum;
}

void Avx512Backend::linear(MatrixId out, std::initializer_list<Product> products,
                           std::optional<int64_t> bias, const SharedSum& shared, RowRange rows) {
  const avx512::Sum sum = forward_sum(products);
  avx512::Offsets offsets;
  if (bias) offsets.bias = bias_values(products.begin()->weight, *bias);
  if (shared.values.defined()) offsets.shared = shared.values.const_data_ptr<float>();
  offsets.group = shared.group;
  share_product(sum, rows, [&](Range some, Range groups) {
    avx512::relu_product(sum, offsets, form(out), some, groups);
  });
}

void Avx512Backend::head(const at::Tensor& out, std::initializer_list<Product> products,
                         std::optional<int64_t> bias, HeadForm form, RowRange rows) {
  const avx512::Sum sum = forward_sum(products);
  const float* offsets = bias ? bias_values(products.begin()->weight, *bias) : nullptr;
  float* values = out.data_ptr<float>();
  share_product(sum, rows, [&](Range some, Range groups) {
    avx512::plain_product(sum, offsets, /*accumulate=*/false, values, some, groups);
    if (form != HeadForm::kTanh) return;
    const int64_t columns = sum.columns();
    for (int64_t row = some.begin; row < some.end; ++row) {
      for (int64_t c = groups.begin * kGroup; c < std::min(groups.end * kGroup, columns); ++c)
        values[row * columns + c] = std::tanh(values[row * columns + c]);
    }
  });
}

void Avx512Backend::one_hot_linear(MatrixId out, WeightId weight, int64_t bias) {
  avx512::one_hot_layer(form(weight).forward, bias_values(weight, bias), part(weight).columns,
                        form(out));
}

void Avx512Backend::load(MatrixId out, const at::Tensor& values, int64_t column, RowRange rows) {
  const avx512::Matrix& to = form(out);
  const int64_t columns = values.size(-1);
  const float* from = values.const_data_ptr<float>();
  for (int64_t row = 0; row < rows.count; ++row) {
    for (int64_t c = 0; c < columns; ++c)
      to.at(rows.begin + row, column + c) = from[row * columns + c];
  }
}

// ---- gradients ---------------------------------------------------------------------------------

void Avx512Backend::input_gradient(MatrixId out, MatrixId gradient, WeightId weight, MatrixId mask,
                                   RowRange rows) {
  const avx512::Sum sum = backward_sum(gradient, weight);
  share_product(sum, rows, [&](Range some, Range groups) {
    avx512::masked_product(sum, form(mask), form(out), some, groups);
  });
}

void Avx512Backend::head_gradient(const at::Tensor& out, MatrixId gradient, WeightId weight,
                                  bool accumulate, RowRange rows) {
  const avx512::Sum sum = backward_sum(gradient, weight);
  float* values = out.data_ptr<float>();
  share_product(sum, rows, [&](Range some, Range groups) {
    avx512::plain_product(sum, /*bias=*/nullptr, accumulate, values, some, groups);
  });
}

void Avx512Backend::weight_gradient(WeightId weight, MatrixId x, MatrixId gradient,
                                    std::optional<int64_t> bias, RowRange rows) {
  const WeightPart& p = part(weight);
  float* flat = gradients_.data_ptr<float>();
  float* sums = bias ? flat + *bias : nullptr;
  const Range out_groups{0, groups_for(p.out)};
  const Range in_groups{0, groups_for(p.columns)};
  avx512::WeightGradient product{form(gradient),
                                 form(x),
                                 p.out,
                                 p.columns,
                                 {rows.begin, rows.begin + rows.count},
                                 out_groups,
                                 in_groups,
                                 flat + p.offset,
                                 p.stride,
                                 /*transposed=*/false,
                                 sums};
  // the narrow operand stands left: its columns are not padded to whole vectors
  if (in_groups.end < out_groups.end) {
    std::swap(product.left, product.right);
    std::swap(product.left_columns, product.right_columns);
    std::swap(product.left_groups, product.right_groups);
    product.transposed = true;
  }
  const int64_t flops = 2 * rows.count * p.out * p.columns;
  if (out_groups.end == in_groups.end) {
    share(out_groups.end, flops / out_groups.end, [&](int64_t begin, int64_t end) {
      avx512::WeightGradient some = product;
      some.left_groups = {begin, end};
      avx512::weight_gradient(some);
    });
    return;
  }
  const int64_t panels = (product.right_groups.end + 1) / 2;
  share(panels, flops / panels, [&](int64_t begin, int64_t end) {
    avx512::WeightGradient some = product;
    some.right_groups = {2 * begin, std::min(2 * end, product.right_groups.end)};
    if (!product.transposed && begin > 0) some.sums = nullptr;  // one thread is enough
    avx512::weight_gradient(some);
  });
}

void Avx512Backend::one_hot_gradient(WeightId weight, MatrixId gradient, int64_t bias) {
  const WeightPart& p = part(weight);
  const avx512::Matrix& g = form(gradient);
  float* flat = gradients_.data_ptr<float>();
  for (int64_t c = 0; c < p.out; ++c) {
    for (int64_t n = 0; n < p.columns; ++n) flat[p.offset + c * p.stride + n] = g.at(n, c);
  }
  avx512::sum_columns(g, p.columns, p.out, flat + bias);
}

// ---- the step's end ----------------------------------------------------------------------------

// the parameters in chunks that end where packed rows end, so that these are made while their
// values are in the cache. The target's rows follow the parameters that they are averaged from
void Avx512Backend::update(const ParameterUpdate& u, const at::Tensor& metrics,
                           const at::Tensor& step) {
  if (!update_) update_.emplace(parts_, kGroup, u);
  const bool finite =
      update_->run(u, [this](size_t weight, int64_t group) { pack(weight, group); });
  finish_step(finite ? 0.0 : std::numeric_limits<double>::quiet_NaN(), metrics, step);
}

}  // namespace

bool cpu_has_avx512() { return avx512::supported(); }

std::unique_ptr<DenseBackend> make_avx512_backend() {
  if (!cpu_has_avx512()) throw UsageError("precision: found no AVX-512 on this CPU");
  return std::make_unique<Avx512Backend>();
}

}  // namespace drop

#else

namespace drop {

bool cpu_has_avx512() { return false; }

std::unique_ptr<DenseBackend> make_avx512_backend() {
  throw UsageError("precision: found no AVX-512 on this CPU");
}

}  // namespace drop

#endif
