#include "kernels/bf16_backend.h"

#include "drop/base/error.h"

namespace drop {
namespace {

UsageError no_bf16() {
  return UsageError(
      "precision: found bf16 on a CPU without bfloat16 products (AMX or AVX512-BF16); use fp32");
}

}  // namespace
}  // namespace drop

#if defined(__x86_64__) && defined(__linux__)

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include "kernels/cpu_backend.h"
#include "kernels/packed_update.h"

namespace drop {

namespace {

using bf16::Bf16;
using bf16::blocks_for;
using bf16::kBlock;

// zero-filled; on huge pages where it is large, which spares the many strided accesses page walks
at::Tensor bf16_storage(int64_t size) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const auto bytes = static_cast<size_t>(size) * sizeof(Bf16);
  if (bytes < kHugePage / 4) return at::zeros({size}, at::kBFloat16);
  const size_t whole = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* memory = std::aligned_alloc(kHugePage, whole);
  if (memory == nullptr) throw std::bad_alloc();
  ::madvise(memory, whole, MADV_HUGEPAGE);  // a wish
  std::memset(memory, 0, bytes);
  return at::from_blob(memory, {size}, std::free, at::kBFloat16);
}
Bf16* values_of(const at::Tensor& storage) {
  return storage.defined() ? static_cast<Bf16*>(storage.data_ptr()) : nullptr;
}

struct Matrix {
  bf16::Matrix forms;
  at::Tensor values, column_sums;  // own the memory
};

struct Weight {
  bf16::Weight forms;
  at::Tensor forward, backward;  // own the memory
};

class Bf16Backend final : public CpuBackend<float> {
 public:
  Bf16Backend(bool training, bf16::Isa isa) : training_(training), isa_(isa) {}

  int64_t row_alignment() const override { return kBlock; }
  int64_t preferred_rows() const override { return bf16::kRowsAtOnce; }
  MatrixId add_matrix(int64_t rows, int64_t width, MatrixUse use) override;
  WeightId add_weight(const WeightPart& part) override;
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
  const bf16::Matrix& forms(MatrixId matrix) const {
    return matrices_[static_cast<size_t>(matrix)].forms;
  }
  const bf16::Weight& forms(WeightId weight) const {
    return weights_[static_cast<size_t>(weight)].forms;
  }
  bf16::Sum forward_sum(std::initializer_list<Product> products) const;
  bf16::Sum backward_sum(MatrixId gradient, WeightId weight, RowRange rows);
  void pack(size_t weight, int64_t strip) const;
  // room for a product's rearranged operands
  Bf16* scratch(int64_t size) {
    if (!scratch_.defined() || scratch_.numel() < size) scratch_ = bf16_storage(size);
    return values_of(scratch_);
  }

  bool training_;
  bf16::Isa isa_;
  std::vector<Matrix> matrices_;
  std::vector<Weight> weights_;
  at::Tensor scratch_;
  std::optional<PackedUpdate> update_;  // made by the first update
};

// calls body(first, last) on all threads, for parts of `count` pieces of so many operations each
template <typename Body>
void share(int64_t count, int64_t flops_each, const Body& body) {
  constexpr int64_t kWorthAThread = 10'000'000;
  at::parallel_for(0, count, std::max<int64_t>(1, kWorthAThread / std::max<int64_t>(1, flops_each)),
                   body);
}

// carries a sum out over the rows, a few strips on each thread
template <typename Body>
void over_rows(const bf16::Sum& sum, RowRange rows, const Body& body) {
  int64_t depth = 0;
  for (int i = 0; i < sum.count; ++i) depth += sum.addends[i].depth;
  const int64_t end = rows.begin + rows.count;
  const int64_t strip_flops = 2 * kBlock * sum.columns * depth * kBlock;
  share(blocks_for(rows.count), strip_flops, [&](int64_t first, int64_t last) {
    bf16::Sum part = sum;
    part.begin = rows.begin + first * kBlock;
    part.end = std::min(rows.begin + last * kBlock, end);
    body(part);
  });
}

// ---- set-up ------------------------------------------------------------------------------------

MatrixId Bf16Backend::add_matrix(int64_t rows, int64_t width, MatrixUse use) {
  Matrix m;
  const int64_t strips = blocks_for(rows);
  m.forms.blocks = blocks_for(width);
  m.values = bf16_storage(strips * m.forms.blocks * bf16::kBlockSize);
  m.forms.values = values_of(m.values);
  if (training_ && use == MatrixUse::kGradient) {
    m.column_sums = plain({strips, m.forms.blocks * kBlock});
    m.forms.column_sums = m.column_sums.data_ptr<float>();
  }
  matrices_.push_back(m);
  return static_cast<MatrixId>(matrices_.size() - 1);
}

WeightId Bf16Backend::add_weight(const WeightPart& part) {
  Weight w;
  const int64_t size = blocks_for(part.out) * blocks_for(part.columns) * bf16::kBlockSize;
  w.forward = bf16_storage(size);
  if (part.input_gradient && !part.target) w.backward = bf16_storage(size);
  w.forms = {values_of(w.forward), values_of(w.backward), part.out, part.columns, part.stride};
  weights_.push_back(w);
  update_.reset();
  return CpuBackend::add_weight(part);
}

void Bf16Backend::pack(size_t weight, int64_t strip) const {
  const WeightPart& p = parts_[weight];
  const at::Tensor& flat = p.target ? target_parameters_ : parameters_;
  bf16::pack_weight(flat.data_ptr<float>() + p.offset, strip, weights_[weight].forms);
}

void Bf16Backend::refresh() {
  at::parallel_for(0, static_cast<int64_t>(weights_.size()), 1, [&](int64_t first, int64_t last) {
    for (auto w = static_cast<size_t>(first); w < static_cast<size_t>(last); ++w) {
      for (int64_t strip = 0; strip < blocks_for(parts_[w].out); ++strip) pack(w, strip);
    }
  });
}

// ---- layers ------------------------------------------------------------------------------------

bf16::Sum Bf16Backend::forward_sum(std::initializer_list<Product> products) const {
  bf16::Sum sum;
  sum.isa = isa_;
  sum.columns = part(products.begin()->weight).out;
  for (const Product& product : products) {
    const bf16::Matrix& x = forms(product.x);
    sum.addends[sum.count++] = {x.values, forms(product.weight).forward, x.blocks};
  }
  return sum;
}

bf16::Sum Bf16Backend::backward_sum(MatrixId gradient, WeightId weight, RowRange rows) {
  const bf16::Matrix& g = forms(gradient);
  if (isa_ == bf16::Isa::kAmx && !training_ && rows.begin + rows.count <= bf16::kFewRows) {
    return {isa_, {{g.values, forms(weight).forward, g.blocks}}, 1, part(weight).columns, 0,
            0,    scratch(bf16::few_rows_scratch(g.blocks))};
  }
  return {isa_, {{g.values, forms(weight).backward, g.blocks}}, 1, part(weight).columns, 0, 0};
}

void Bf16Backend::linear(MatrixId out, std::initializer_list<Product> products,
                         std::optional<int64_t> bias, const SharedSum& shared, RowRange rows) {
  bf16::Offsets offsets;
  if (bias) offsets.bias = bias_values(products.begin()->weight, *bias);
  if (shared.values.defined()) offsets.shared = shared.values.data_ptr<float>();
  offsets.group = shared.group;
  over_rows(forward_sum(products), rows,
            [&](const bf16::Sum& sum) { bf16::relu_product(sum, offsets, forms(out)); });
}

void Bf16Backend::head(const at::Tensor& out, std::initializer_list<Product> products,
                       std::optional<int64_t> bias, HeadForm form, RowRange rows) {
  bf16::Offsets offsets;
  if (bias) offsets.bias = bias_values(products.begin()->weight, *bias);
  const int64_t columns = out.size(-1);
  float* values = out.data_ptr<float>();
  over_rows(forward_sum(products), rows, [&](const bf16::Sum& sum) {
    bf16::plain_product(sum, offsets, {values, columns, form == HeadForm::kTanh});
  });
}

void Bf16Backend::one_hot_linear(MatrixId out, WeightId weight, int64_t bias) {
  const WeightPart& p = part(weight);
  const float* values = parameters_.data_ptr<float>() + p.offset;
  share(blocks_for(p.columns), p.out * 1000, [&](int64_t first, int64_t last) {
    bf16::one_hot_layer(values, bias_values(weight, bias), p.out, p.stride, first * kBlock,
                        std::min(last * kBlock, p.columns), forms(out));
  });
}

void Bf16Backend::load(MatrixId out, const at::Tensor& values, int64_t column, RowRange rows) {
  bf16::load(values.data_ptr<float>(), values.size(-1), column, rows.begin, rows.begin + rows.count,
             forms(out));
}

// ---- gradients ---------------------------------------------------------------------------------

void Bf16Backend::input_gradient(MatrixId out, MatrixId gradient, WeightId weight, MatrixId mask,
                                 RowRange rows) {
  over_rows(backward_sum(gradient, weight, rows), rows,
            [&](const bf16::Sum& sum) { bf16::masked_product(sum, forms(mask), forms(out)); });
}

void Bf16Backend::head_gradient(const at::Tensor& out, MatrixId gradient, WeightId weight,
                                bool accumulate, RowRange rows) {
  const bf16::Plain plain_out{out.data_ptr<float>(), out.size(-1), /*tanh=*/false, accumulate};
  over_rows(backward_sum(gradient, weight, rows), rows,
            [&](const bf16::Sum& sum) { bf16::plain_product(sum, {}, plain_out); });
}

void Bf16Backend::weight_gradient(WeightId weight, MatrixId x, MatrixId gradient,
                                  std::optional<int64_t> bias, RowRange rows) {
  const WeightPart& p = part(weight);
  float* flat = gradients_.data_ptr<float>();
  const int64_t end = rows.begin + blocks_for(rows.count) * kBlock;
  const int64_t strips = blocks_for(p.out);
  const int64_t panels = blocks_for(p.columns);
  const bool by_strips = strips >= panels;
  const int64_t flops_each = 2 * rows.count * kBlock * kBlock * (by_strips ? panels : strips);
  // room for each thread
  const int64_t scratch_size = bf16::scratch_size(strips);
  Bf16* const all_scratch = scratch(scratch_size * at::get_num_threads());
  share(by_strips ? strips : panels, flops_each, [&](int64_t first, int64_t last) {
    bf16::WeightGradient product{isa_,      forms(gradient),
                                 forms(x),  rows.begin,
                                 end,       p.out,
                                 p.columns, 0,
                                 strips,    0,
                                 panels,    all_scratch + scratch_size * at::get_thread_num()};
    (by_strips ? product.first_strip : product.first_panel) = first;
    (by_strips ? product.last_strip : product.last_panel) = last;
    bf16::weight_gradient(product, flat + p.offset, p.stride);
  });
  if (bias) bf16::sum_columns(forms(gradient), rows.begin, end, p.out, flat + *bias);
}

void Bf16Backend::one_hot_gradient(WeightId weight, MatrixId gradient, int64_t bias) {
  const WeightPart& p = part(weight);
  float* flat = gradients_.data_ptr<float>();
  bf16::one_hot_gradient(forms(gradient), p.columns, p.out, p.stride, flat + p.offset);
  bf16::sum_columns(forms(gradient), 0, p.columns, p.out, flat + bias);
}

// ---- the step's end ----------------------------------------------------------------------------

void Bf16Backend::update(const ParameterUpdate& u, const at::Tensor& metrics,
                         const at::Tensor& step) {
  if (!update_) update_.emplace(parts_, kBlock, u);
  const bool finite =
      update_->run(u, [this](size_t weight, int64_t strip) { pack(weight, strip); });
  finish_step(finite ? 0.0 : std::numeric_limits<double>::quiet_NaN(), metrics, step);
}

}  // namespace

std::unique_ptr<DenseBackend> make_bf16_backend(bool training, bf16::Isa isa) {
  if (isa == bf16::Isa::kNone) throw no_bf16();
  return std::make_unique<Bf16Backend>(training, isa);
}

std::function<void()> bf16_product_benchmark() {
  constexpr int64_t kRows = 1024;
  constexpr int64_t kWidth = 512;
  const bf16::Isa isa = bf16::best_isa();
  if (isa == bf16::Isa::kNone) throw no_bf16();
  return [isa, x = bf16_storage(kRows * kWidth), weight = bf16_storage(kWidth * kWidth)] {
    const bf16::Sum sum{isa, {{values_of(x), values_of(weight), blocks_for(kWidth)}}, 1, kWidth, 0,
                        0};
    over_rows(sum, {0, kRows}, [](const bf16::Sum& part) { bf16::bare_product(part); });
  };
}

#else

namespace drop {

std::unique_ptr<DenseBackend> make_bf16_backend(bool, bf16::Isa) { throw no_bf16(); }
std::function<void()> bf16_product_benchmark() { throw no_bf16(); }

#endif

std::unique_ptr<DenseBackend> make_bf16_backend(bool training) {
  return make_bf16_backend(training, bf16::best_isa());
}

}  // namespace drop
