#include "kernels/avx512_backend.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "kernels/backend_checks.h"

namespace drop {
namespace {

using testing::BackendCase;

class Avx512Backend : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cpu_has_avx512()) GTEST_SKIP() << "this CPU has no AVX-512";
  }
  void TearDown() override { at::set_num_threads(threads_); }

  const int threads_ = at::get_num_threads();
};

BackendCase make_case(int64_t rows = 24) {
  BackendCase sizes;
  sizes.make = [](int64_t) { return make_avx512_backend(); };
  sizes.tolerance = 2e-6;
  sizes.rows = rows;
  return sizes;
}

TEST_F(Avx512Backend, LayersOfAllRowCounts) {
  // every remainder of the rows that a product takes together
  for (int64_t rows = 12; rows < 30; ++rows) testing::LayerCheck(make_case(rows)).run();
}

TEST_F(Avx512Backend, LayersOfAllWidths) {
  // every remainder of groups and panels of columns
  for (const int64_t width : {1, 7, 15, 16, 17, 31, 32, 33, 48, 63}) {
    BackendCase sizes = make_case(17);
    sizes.width = width;
    testing::LayerCheck(sizes).run();
  }
}

TEST_F(Avx512Backend, LayersThatAreCutIntoParts) {
  // more rows, inner values and columns than are taken at once, no multiples of anything
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    BackendCase sizes = make_case(613);
    sizes.width = 531;
    sizes.inputs = 45;
    sizes.joined = 33;
    sizes.outputs = 28;
    sizes.one_hot = 40;
    testing::LayerCheck(sizes).run();
  }
}

TEST_F(Avx512Backend, BetweenLayers) { testing::BetweenCheck(make_case()).run(); }

// all results of a layer forward and backward, on so many threads
std::vector<at::Tensor> results(int threads, int64_t rows, int64_t width) {
  at::set_num_threads(threads);
  at::manual_seed(3);
  const auto backend = make_avx512_backend();
  const at::Tensor flat = at::rand({width * width + width}) - 0.5;
  const at::Tensor gradients = at::zeros_like(flat);
  const WeightId weight = backend->add_weight({0, width, width, width, false, true});
  const MatrixId x = backend->add_matrix(rows, width, MatrixUse::kHidden);
  const MatrixId y = backend->add_matrix(rows, width, MatrixUse::kHidden);
  const MatrixId g = backend->add_matrix(rows, width, MatrixUse::kGradient);
  backend->bind(flat, flat, gradients);
  backend->refresh();
  const RowRange all{0, rows};
  backend->load(x, at::rand({rows, width}) - 0.5, 0, all);
  backend->linear(y, {{x, weight}}, width * width, {}, all);
  backend->input_gradient(g, y, weight, x, all);
  backend->weight_gradient(weight, x, g, width * width, all);
  const at::Tensor head = backend->plain({rows, width});
  const at::Tensor head_gradient = backend->plain({rows, width});
  backend->head(head, {{y, weight}}, width * width, HeadForm::kTanh, all);
  backend->head_gradient(head_gradient, g, weight, /*accumulate=*/false, all);
  const at::Tensor exp_avg = at::zeros_like(flat), exp_avg_sq = at::zeros_like(flat);
  ParameterUpdate update{flat, gradients,    exp_avg, exp_avg_sq, at::zeros({}),
                         0.1,  flat.clone(), 0,       0.5};
  backend->update(update, at::zeros({kMetricSlots}, at::kDouble), at::zeros({1}, at::kLong));
  return {head, head_gradient, gradients, flat, update.target};
}

TEST_F(Avx512Backend, ResultsDoNotDependOnTheNumberOfThreads) {
  for (const int64_t rows : {1, 10, 100, 500}) {
    const std::vector<at::Tensor> one = results(1, rows, 300);
    const std::vector<at::Tensor> two = results(2, rows, 300);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(two[i])) << rows << ", " << i;
  }
}

TEST_F(Avx512Backend, NotANumberStays) {
  const auto backend = make_avx512_backend();
  const at::Tensor flat = at::ones({1});
  const WeightId weight = backend->add_weight({0, 1, 1, 1, false, true});
  const MatrixId x = backend->add_matrix(2, 1, MatrixUse::kInput);
  const MatrixId y = backend->add_matrix(2, 1, MatrixUse::kHidden);
  backend->bind(flat, flat, {});
  backend->refresh();
  at::Tensor values = at::full({2, 1}, -1.0f);
  values[0][0] = std::numeric_limits<float>::quiet_NaN();
  backend->load(x, values, 0, {0, 2});
  backend->linear(y, {{x, weight}}, std::nullopt, {}, {0, 2});
  const at::Tensor out = backend->plain({2, 1});
  backend->head(out, {{y, weight}}, std::nullopt, HeadForm::kLinear, {0, 2});
  EXPECT_TRUE(out[0][0].isnan().item<bool>());
  EXPECT_EQ(out[1][0].item<float>(), 0.0f);
}

TEST(MakeDenseBackend, TakesAvx512WhereTheCpuHasIt) {
  const auto backend = make_dense_backend({});
  EXPECT_EQ(backend->row_alignment(), cpu_has_avx512() ? 8 : 1);
  EXPECT_EQ(make_dense_backend({.type = at::kDouble})->row_alignment(), 1);
}

}  // namespace
}  // namespace drop
