#include "kernels/bf16_backend.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "drop/base/error.h"

namespace drop {
namespace {

using bf16::Isa;

// as the backend rounds its operands
at::Tensor rounded(const at::Tensor& values) { return values.to(at::kBFloat16).to(at::kDouble); }

at::Tensor uniform(at::IntArrayRef shape) { return at::rand(shape) * 2 - 1; }

// a product in double of operands that are rounded already, and how far float sums may be off
struct Expected {
  at::Tensor values, tolerance;

  Expected(const at::Tensor& left, const at::Tensor& right)
      : values(at::mm(left, right)),
        tolerance(at::mm(left.abs(), right.abs()) * unit(left.size(1))) {}

  Expected& add(const at::Tensor& more) {
    values = values + more;
    tolerance = tolerance + values.abs() * unit(2);
    return *this;
  }
  Expected& add(const Expected& more) {
    values = values + more.values;
    tolerance = (tolerance + more.tolerance) * 2;
    return *this;
  }
  static double unit(int64_t terms) { return static_cast<double>(terms + 2) * 0x1.0p-23; }
};

void expect_near(const at::Tensor& found, const Expected& expected) {
  ASSERT_EQ(found.sizes(), expected.values.sizes());
  const at::Tensor excess = (found.to(at::kDouble) - expected.values).abs() - expected.tolerance;
  EXPECT_LE(excess.max().item<double>(), 0.0);
}

// `found` is rounded to bfloat16 itself; `change` is applied before rounding
template <typename Change>
void expect_rounded(const at::Tensor& found, const Expected& expected, const Change& change) {
  ASSERT_EQ(found.sizes(), expected.values.sizes());
  const at::Tensor low = rounded(change(expected.values - expected.tolerance));
  const at::Tensor high = rounded(change(expected.values + expected.tolerance));
  const at::Tensor value = found.to(at::kDouble);
  EXPECT_TRUE(at::logical_and(value >= low, value <= high).all().item<bool>());
}

class Bf16BackendTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    at::manual_seed(7);
    if (bf16::best_isa() < GetParam()) GTEST_SKIP() << "this CPU lacks the instructions";
    start(/*training=*/true);
  }

  void start(bool training) {
    backend_ = make_bf16_backend(training, GetParam());
    flat_ = uniform({kParameters});
    target_ = flat_.clone();
    gradients_ = at::full({kParameters}, kUntouched);
    next_ = 3;
  }

  // ---- parameters; everything begins at odd places
  struct Layer {
    WeightId id;
    int64_t bias = 0;
    at::Tensor weight;  // view of the master
    at::Tensor weight_rounded() const { return rounded(weight); }
  };

  Layer layer(int64_t out, int64_t stride, int64_t column, int64_t columns, bool target = false) {
    WeightPart part;
    part.offset = next_ + column;
    part.out = out;
    part.columns = columns;
    part.stride = stride;
    part.target = target;
    const int64_t bias = next_ + out * stride;
    next_ = bias + out + 1;
    EXPECT_LE(next_, kParameters);
    last_ = part;
    return {backend_->add_weight(part), bias, view(target ? target_ : flat_, part)};
  }
  Layer layer(int64_t out, int64_t columns) { return layer(out, columns, 0, columns); }

  static at::Tensor view(const at::Tensor& flat, const WeightPart& part) {
    return flat.as_strided({part.out, part.columns}, {part.stride, 1}, part.offset);
  }
  at::Tensor bias_of(const Layer& l) const {
    return flat_.narrow(0, l.bias, l.weight.size(0)).to(at::kDouble);
  }

  // a weight through which a matrix of this width is read as it is
  WeightId identity(int64_t width) {
    const Layer l = layer(width, width);
    l.weight.copy_(at::eye(width));
    return l.id;
  }

  void bind() {
    backend_->bind(flat_, target_, gradients_);
    backend_->refresh();
  }

  // ---- matrices
  MatrixId matrix(int64_t rows, int64_t width, MatrixUse use) {
    return backend_->add_matrix(rows, width, use);
  }
  MatrixId matrix(const at::Tensor& values, MatrixUse use) {
    const MatrixId id = matrix(values.size(0), values.size(1), use);
    backend_->load(id, values, 0, {0, values.size(0)});
    return id;
  }
  at::Tensor read(MatrixId id, WeightId identity, int64_t rows, int64_t width) {
    const at::Tensor out = backend_->plain({rows, width});
    backend_->head(out, {{id, identity}}, std::nullopt, HeadForm::kLinear, {0, rows});
    return out;
  }

  static constexpr int64_t kParameters = 400'000;
  static constexpr float kUntouched = 123.0f;
  std::unique_ptr<DenseBackend> backend_;
  at::Tensor flat_, target_, gradients_;
  int64_t next_ = 0;
  WeightPart last_;
};

INSTANTIATE_TEST_SUITE_P(Instructions, Bf16BackendTest, ::testing::Values(Isa::kAmx, Isa::kAvx512),
                         [](const auto& info) {
                           return info.param == Isa::kAmx ? "Amx" : "Avx512";
                         });

// rows, inputs, outputs
using Size = std::tuple<int64_t, int64_t, int64_t>;
const Size kSizes[] = {{1, 3, 1},     {2, 512, 8},    {3, 8, 16},    {17, 40, 33},
                       {32, 32, 32},  {45, 120, 17},  {64, 16, 5},   {100, 512, 96},
                       {550, 48, 70}, {1100, 14, 20}, {4, 200, 512}, {16, 64, 64}};

TEST_P(Bf16BackendTest, LinearIsReluOfProductAndBias) {
  for (const auto& [rows, in, out] : kSizes) {
    SCOPED_TRACE(std::to_string(rows) + " " + std::to_string(in) + " " + std::to_string(out));
    start(/*training=*/rows % 2 == 0);
    const Layer l = layer(out, in);
    const WeightId reader = identity(out);
    bind();
    const at::Tensor x = uniform({rows, in});
    const MatrixId hidden = matrix(rows, out, MatrixUse::kHidden);
    backend_->linear(hidden, {{matrix(x, MatrixUse::kInput), l.id}}, l.bias, {}, {0, rows});
    Expected expected(rounded(x), l.weight_rounded().t());
    expect_rounded(read(hidden, reader, rows, out), expected.add(bias_of(l)),
                   [](const at::Tensor& sum) { return at::relu(sum); });
  }
}

TEST_P(Bf16BackendTest, LinearAddsTwoProductsAndASharedSum) {
  for (const int64_t group : {1, 3, 7}) {
    start(/*training=*/true);
    constexpr int64_t kRows = 75, kOut = 50, kX = 64, kZ = 5;
    const Layer first = layer(kOut, kX + kZ, 0, kX);
    next_ = 3;
    const Layer second = layer(kOut, kX + kZ, kX, kZ);
    const WeightId reader = identity(kOut);
    bind();
    const at::Tensor x = uniform({kRows, kX});
    const at::Tensor z = uniform({kRows, kZ});
    const at::Tensor shared = uniform({96, kOut});
    const MatrixId hidden = matrix(kRows, kOut, MatrixUse::kHidden);
    const RowRange all{0, kRows};
    const MatrixId x_in = matrix(x, MatrixUse::kInput);
    const MatrixId z_in = matrix(z, MatrixUse::kInput);
    backend_->linear(hidden, {{x_in, first.id}, {z_in, second.id}}, std::nullopt, {shared, group},
                     all);
    Expected expected(rounded(x), first.weight_rounded().t());
    expected.add(Expected(rounded(z), second.weight_rounded().t()));
    expected.add(shared.to(at::kDouble).index_select(0, at::arange(kRows).floor_divide(group)));
    const auto relu = [](const at::Tensor& sum) { return at::relu(sum); };
    expect_rounded(read(hidden, reader, kRows, kOut), expected, relu);

    // in two ranges: the same bits
    const MatrixId parts = matrix(kRows, kOut, MatrixUse::kHidden);
    for (const RowRange rows : {RowRange{0, 32}, RowRange{32, kRows - 32}})
      backend_->linear(parts, {{x_in, first.id}, {z_in, second.id}}, std::nullopt, {shared, group},
                       rows);
    EXPECT_TRUE(at::equal(read(parts, reader, kRows, kOut), read(hidden, reader, kRows, kOut)));
  }
}

TEST_P(Bf16BackendTest, NotANumberPassesTheRelu) {
  const Layer l = layer(8, 8);
  const WeightId reader = identity(8);
  bind();
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
    at::Tensor x = uniform({4, 8});
    x[1][2] = bad;
    const MatrixId hidden = matrix(4, 8, MatrixUse::kHidden);
    backend_->linear(hidden, {{matrix(x, MatrixUse::kInput), l.id}}, l.bias, {}, {0, 4});
    const at::Tensor found = read(hidden, reader, 4, 8);
    EXPECT_TRUE(at::isnan(found[1]).all().item<bool>());
    EXPECT_FALSE(at::isnan(found[0]).any().item<bool>());
  }
}

TEST_P(Bf16BackendTest, HeadWritesItsRowsAlone) {
  for (const auto& [rows, in, out] : kSizes) {
    start(/*training=*/true);
    const Layer l = layer(out, in);
    bind();
    const at::Tensor x = uniform({rows, in});
    const MatrixId x_in = matrix(x, MatrixUse::kInput);
    const at::Tensor found = at::full({rows + 1, out}, kUntouched);
    const int64_t begin = rows > 32 ? 32 : 0;
    const RowRange range{begin, rows - begin};
    Expected expected(rounded(x.narrow(0, begin, rows - begin)), l.weight_rounded().t());
    expected.add(bias_of(l));

    backend_->head(found, {{x_in, l.id}}, l.bias, HeadForm::kLinear, range);
    expect_near(found.narrow(0, begin, rows - begin), expected);
    EXPECT_TRUE((found.narrow(0, 0, begin) == kUntouched).all().item<bool>());
    EXPECT_TRUE((found[rows] == kUntouched).all().item<bool>());

    // tanh to a few units in the last place, small values too
    backend_->head(found, {{x_in, l.id}}, l.bias, HeadForm::kTanh, range);
    expected.values = at::tanh(expected.values);
    expected.tolerance = expected.tolerance + expected.values.abs() * 4e-7;
    expect_near(found.narrow(0, begin, rows - begin), expected);
  }
}

TEST_P(Bf16BackendTest, TanhIsExactOverItsRange) {
  const Layer l = layer(1, 1);
  l.weight.fill_(1.0f);
  bind();
  const at::Tensor x = at::cat({at::linspace(-12, 12, 4001), at::logspace(-30, 2, 200),
                                at::full({1}, std::numeric_limits<float>::infinity())})
                           .reshape({-1, 1});
  const at::Tensor found = backend_->plain(x.sizes());
  backend_->head(found, {{matrix(x, MatrixUse::kInput), l.id}}, std::nullopt, HeadForm::kTanh,
                 {0, x.size(0)});
  const at::Tensor expected = at::tanh(rounded(x));
  const at::Tensor error = (found - expected).abs() / expected.abs().clamp_min(1e-30);
  EXPECT_LT(error.max().item<double>(), 4e-7);
}

TEST_P(Bf16BackendTest, LoadFillsSomeColumns) {
  const WeightId reader = identity(70);
  bind();
  constexpr int64_t kRows = 45;
  const at::Tensor a = uniform({kRows, 29});
  const at::Tensor b = uniform({kRows, 41});
  const MatrixId x = matrix(kRows, 70, MatrixUse::kInput);
  backend_->load(x, a, 0, {0, kRows});
  backend_->load(x, b, 29, {0, kRows});
  EXPECT_TRUE(at::equal(read(x, reader, kRows, 70).to(at::kDouble), rounded(at::cat({a, b}, 1))));
  // behind the first rows
  backend_->load(x, a, 29, {32, 13});
  const at::Tensor found = read(x, reader, kRows, 70).to(at::kDouble);
  EXPECT_TRUE(at::equal(found.narrow(0, 0, 32), rounded(at::cat({a, b}, 1)).narrow(0, 0, 32)));
  EXPECT_TRUE(at::equal(found.narrow(0, 32, 13).narrow(1, 29, 29), rounded(a.narrow(0, 0, 13))));
  EXPECT_TRUE(at::equal(found.narrow(0, 32, 13).narrow(1, 58, 12),
                        rounded(b.narrow(0, 32, 13).narrow(1, 29, 12))));
}

TEST_P(Bf16BackendTest, InputGradientGoesThroughTheMask) {
  // a few rows of an inference go through the other direction's weights, four panels at a time
  std::vector<Size> sizes(std::begin(kSizes), std::end(kSizes));
  sizes.insert(sizes.end(), {{8, 130, 40}, {7, 96, 33}, {3, 70, 64}, {1, 256, 97}, {9, 130, 40}});
  for (const auto& [rows, in, out] : sizes) {
    for (const bool training : {true, false}) {
      SCOPED_TRACE(std::to_string(rows) + " " + std::to_string(in) + " " + std::to_string(out));
      start(training);
      const Layer l = layer(out, in);
      const WeightId reader = identity(in);
      bind();
      const at::Tensor gradient = uniform({rows, out});
      const at::Tensor mask = at::relu(uniform({rows, in}));
      const MatrixId result = matrix(rows, in, MatrixUse::kGradient);
      const MatrixId g = matrix(gradient, MatrixUse::kGradient);
      backend_->input_gradient(result, g, l.id, matrix(mask, MatrixUse::kHidden), {0, rows});
      const Expected expected(rounded(gradient), l.weight_rounded());
      expect_rounded(read(result, reader, rows, in), expected,
                     [&](const at::Tensor& sum) { return sum * (mask > 0); });

      // without a mask, plain, also on top of what is there
      const at::Tensor found = at::full({rows, in}, kUntouched);
      backend_->head_gradient(found, g, l.id, /*accumulate=*/false, {0, rows});
      expect_near(found, expected);
      backend_->head_gradient(found, g, l.id, /*accumulate=*/true, {0, rows});
      Expected twice = expected;
      expect_near(found, twice.add(expected));
    }
  }
}

TEST_P(Bf16BackendTest, WeightGradientSumsOverTheRows) {
  // rows, first row, inputs, outputs, stride, column
  const std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t> cases[] = {
      {32, 0, 32, 32, 32, 0},   {96, 32, 5, 40, 69, 64},    {1184, 64, 64, 50, 69, 0},
      {64, 0, 3, 1, 3, 0},      {544, 512, 120, 3, 121, 1}, {1056, 0, 17, 100, 17, 0},
      {256, 0, 512, 64, 517, 0}};
  for (const auto& [count, begin, in, out, stride, column] : cases) {
    SCOPED_TRACE(std::to_string(count) + " " + std::to_string(in) + " " + std::to_string(out));
    start(/*training=*/true);
    const Layer l = layer(out, stride, column, in);
    const WeightPart part = last_;
    bind();
    const int64_t rows = begin + count + 32;
    const at::Tensor x = uniform({rows, in});
    const at::Tensor gradient = uniform({rows, out});
    backend_->weight_gradient(l.id, matrix(x, MatrixUse::kInput),
                              matrix(gradient, MatrixUse::kGradient), l.bias, {begin, count});
    const at::Tensor g = gradient.narrow(0, begin, count);
    expect_near(view(gradients_, part),
                Expected(rounded(g).t(), rounded(x.narrow(0, begin, count))));
    const at::Tensor found_bias = gradients_.narrow(0, l.bias, out);
    const Expected bias(at::ones({1, count}, at::kDouble), g.to(at::kDouble));
    expect_near(found_bias.unsqueeze(0), bias);
    // nothing else is written
    view(gradients_, part).fill_(kUntouched);
    found_bias.fill_(kUntouched);
    EXPECT_TRUE((gradients_ == kUntouched).all().item<bool>());
  }
}

TEST_P(Bf16BackendTest, LayersInAChainFeedWeightGradients) {
  // matrices as `linear` and `input_gradient` write them, also with strips that are not full
  for (const int64_t rows : {576, 100, 3}) {
    SCOPED_TRACE(rows);
    start(/*training=*/true);
    constexpr int64_t kIn = 11, kWidth = 70, kOut = 3;
    const Layer first = layer(kWidth, kIn);
    const Layer second = layer(kOut, kWidth);
    const WeightPart second_part = last_;
    const WeightId reader = identity(kWidth);
    bind();
    const RowRange all{0, rows};
    const at::Tensor x = uniform({rows, kIn});
    const at::Tensor gradient = uniform({rows, kOut});
    const MatrixId x_in = matrix(x, MatrixUse::kInput);
    const MatrixId hidden = matrix(rows, kWidth, MatrixUse::kHidden);
    const MatrixId g = matrix(gradient, MatrixUse::kGradient);
    const MatrixId g_hidden = matrix(rows, kWidth, MatrixUse::kGradient);
    backend_->linear(hidden, {{x_in, first.id}}, first.bias, {}, all);
    backend_->input_gradient(g_hidden, g, second.id, hidden, all);
    backend_->weight_gradient(second.id, hidden, g, second.bias, all);
    backend_->weight_gradient(first.id, x_in, g_hidden, first.bias, all);
    const at::Tensor h = read(hidden, reader, rows, kWidth).to(at::kDouble);
    const at::Tensor gh = read(g_hidden, reader, rows, kWidth).to(at::kDouble);
    EXPECT_GT(h.max().item<double>(), 0.0);
    expect_near(view(gradients_, second_part), Expected(rounded(gradient).t(), h));
    WeightPart first_part = second_part;
    first_part.offset = first.weight.storage_offset();
    first_part.out = kWidth;
    first_part.columns = first_part.stride = kIn;
    expect_near(view(gradients_, first_part), Expected(gh.t(), rounded(x)));
    // bias sums are taken before rounding, which moves each by half a unit in bfloat16 at most
    const at::Tensor sums = gradients_.narrow(0, first.bias, kWidth).to(at::kDouble);
    const at::Tensor slack = gh.abs().sum(0) * 0x1.0p-8 + 1e-12;
    EXPECT_TRUE(((sums - gh.sum(0)).abs() <= slack).all().item<bool>());
  }
}

TEST_P(Bf16BackendTest, OneHotLayerLooksItsColumnsUp) {
  for (const int64_t inputs : {1, 20, 32, 100}) {
    start(/*training=*/true);
    constexpr int64_t kWidth = 40;
    const Layer l = layer(kWidth, inputs);
    const WeightPart part = last_;
    const WeightId reader = identity(kWidth);
    bind();
    const MatrixId hidden = matrix(inputs, kWidth, MatrixUse::kHidden);
    backend_->one_hot_linear(hidden, l.id, l.bias);
    const at::Tensor sum = l.weight.t() + flat_.narrow(0, l.bias, kWidth);
    EXPECT_TRUE(
        at::equal(read(hidden, reader, inputs, kWidth).to(at::kDouble), rounded(at::relu(sum))));

    const at::Tensor gradient = uniform({inputs, kWidth});
    backend_->one_hot_gradient(l.id, matrix(gradient, MatrixUse::kGradient), l.bias);
    EXPECT_TRUE(at::equal(view(gradients_, part).to(at::kDouble), rounded(gradient).t()));
    expect_near(gradients_.narrow(0, l.bias, kWidth).unsqueeze(0),
                Expected(at::ones({1, inputs}, at::kDouble), gradient.to(at::kDouble)));
    view(gradients_, part).fill_(kUntouched);
    gradients_.narrow(0, l.bias, kWidth).fill_(kUntouched);
    EXPECT_TRUE((gradients_ == kUntouched).all().item<bool>());
  }
}

TEST_P(Bf16BackendTest, UpdateIsAdamAndPacksWhatItChanged) {
  // two parts of one weight, a small one, and a target that follows the second layer on
  const Layer x_part = layer(50, 69, 0, 64);
  next_ = 3;
  const Layer z_part = layer(50, 69, 64, 5);
  const int64_t source = next_;
  const Layer small = layer(3, 50);
  const WeightPart small_part = last_;
  const Layer last = layer(33, 40);
  WeightPart target_part = small_part;
  target_part.offset -= source;
  target_part.target = true;
  const WeightId target_small = backend_->add_weight(target_part);
  const int64_t count = next_ + 5;
  flat_ = flat_.narrow(0, 0, count).clone();
  target_ = target_.narrow(0, 0, count - source - 3).clone();
  gradients_ = at::zeros({count});
  bind();

  at::Tensor expected = flat_.to(at::kDouble);
  at::Tensor expected_target = target_.to(at::kDouble);
  at::Tensor m = at::zeros({count}, at::kDouble);
  at::Tensor v = at::zeros({count}, at::kDouble);
  ParameterUpdate u{
      flat_,  gradients_, at::zeros({count}), at::zeros({count}), at::zeros({}), 1e-3, target_,
      source, 0.05};
  const at::Tensor metrics = at::zeros({kMetricSlots}, at::kDouble);
  metrics[kBadStepSlot] = -1.0;
  const at::Tensor step = at::zeros({1}, at::kLong);
  for (int t = 1; t <= 5; ++t) {
    gradients_.copy_(uniform({count}));
    gradients_.narrow(0, 0, 20).zero_();
    gradients_.narrow(0, 20, 20).mul_(1e-12);
    const at::Tensor g = gradients_.to(at::kDouble);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    expected = expected -
               1e-3 / (1 - std::pow(0.9, t)) * m / ((v / (1 - std::pow(0.999, t))).sqrt() + 1e-8);
    expected_target += 0.05 * (expected.narrow(0, source, target_.size(0)) - expected_target);
    backend_->update(u, metrics, step);
  }
  // a few units in the last place of parameters of size 1
  EXPECT_LT((flat_ - expected).abs().max().item<double>(), 5 * 0x1.0p-23);
  EXPECT_LT((target_ - expected_target).abs().max().item<double>(), 5 * 0x1.0p-23);
  EXPECT_LT((u.exp_avg - m).abs().max().item<double>(), 1e-6);
  EXPECT_LT(((u.exp_avg_sq - v).abs() / (v + 1e-30)).max().item<double>(), 1e-6);
  EXPECT_EQ(u.step_count.item<float>(), 5.0f);
  EXPECT_EQ(step.item<int64_t>(), 5);
  EXPECT_EQ(metrics[kBadStepSlot].item<double>(), -1.0);

  // the packed weights, in both directions, are those of the new parameters
  const auto packed = [&](WeightId id, int64_t out, int64_t columns) {
    const at::Tensor found = backend_->plain({columns, out});
    const MatrixId eye = matrix(at::eye(columns), MatrixUse::kInput);
    backend_->head(found, {{eye, id}}, std::nullopt, HeadForm::kLinear, {0, columns});
    return found.t().to(at::kDouble);
  };
  const auto packed_backward = [&](WeightId id, int64_t out, int64_t columns) {
    const at::Tensor found = backend_->plain({out, columns});
    const MatrixId eye = matrix(at::eye(out), MatrixUse::kGradient);
    backend_->head_gradient(found, eye, id, /*accumulate=*/false, {0, out});
    return found.to(at::kDouble);
  };
  for (const Layer* l : {&x_part, &z_part, &small, &last}) {
    const at::Tensor now =
        flat_.as_strided(l->weight.sizes(), l->weight.strides(), l->weight.storage_offset());
    EXPECT_TRUE(at::equal(packed(l->id, now.size(0), now.size(1)), rounded(now)));
    EXPECT_TRUE(at::equal(packed_backward(l->id, now.size(0), now.size(1)), rounded(now)));
  }
  EXPECT_TRUE(at::equal(packed(target_small, 3, 50), rounded(view(target_, target_part))));

  // the first step that is not finite is remembered
  for (int t = 0; t < 2; ++t) {
    gradients_[count - 1] = std::numeric_limits<float>::infinity();
    backend_->update(u, metrics, step);
  }
  EXPECT_EQ(metrics[kBadStepSlot].item<double>(), 5.0);
}

TEST_P(Bf16BackendTest, ThreadsDoNotChangeResults) {
  constexpr int64_t kIn = 256, kOut = 200;
  const int threads = at::get_num_threads();
  // 1088: whole strips; 98: the last thread's only strip has two rows
  for (const int64_t rows : {1088, 98}) {
    std::vector<at::Tensor> results[2];
    for (int run = 0; run < 2; ++run) {
      at::manual_seed(3);
      at::set_num_threads(run == 0 ? 1 : 4);
      start(/*training=*/true);
      const Layer l = layer(kOut, kIn);
      const WeightId reader = identity(kOut);
      bind();
      const RowRange all{0, rows};
      const MatrixId x = matrix(uniform({rows, kIn}), MatrixUse::kInput);
      const MatrixId hidden = matrix(rows, kOut, MatrixUse::kHidden);
      backend_->linear(hidden, {{x, l.id}}, l.bias, {}, all);
      const MatrixId g = matrix(uniform({rows, kOut}), MatrixUse::kGradient);
      backend_->weight_gradient(l.id, x, g, l.bias, all);
      const at::Tensor zeros = at::zeros({kParameters});
      backend_->update(
          {flat_, gradients_, zeros, zeros.clone(), at::zeros({}), 1e-3, target_, 0, 0.005},
          at::zeros({kMetricSlots}, at::kDouble), at::zeros({1}, at::kLong));
      results[run] = {read(hidden, reader, rows, kOut), gradients_, flat_, target_};
    }
    at::set_num_threads(threads);
    for (size_t i = 0; i < results[0].size(); ++i)
      EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << rows << " rows, result " << i;
  }
}

TEST(Bf16, RefusesACpuWithoutBf16) {
  EXPECT_THROW(make_bf16_backend(true, Isa::kNone), UsageError);
}

TEST(Bf16, BenchmarkRuns) {
  if (bf16::best_isa() == Isa::kNone) GTEST_SKIP() << "this CPU has no bfloat16 products";
  bf16_product_benchmark()();
}

}  // namespace
}  // namespace drop
