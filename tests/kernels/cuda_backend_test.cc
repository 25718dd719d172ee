// On a GPU what emulation/cuda_backend_test.cc does without one, and the sizes of the paper.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/backend_checks.h"
#include "kernels/make_cuda_backend.h"

namespace drop {
namespace {

using testing::BackendCase;

class CudaBackendTest : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU here";
  }
  static BackendCase make_case(int64_t num_seeds = 0) {
    BackendCase sizes;
    sizes.make = [](int64_t seeds) {
      return make_cuda_backend({at::kCUDA, at::kFloat, GetParam(), seeds, /*training=*/true});
    };
    sizes.num_seeds = num_seeds;
    // unit roundoffs, and what sums make of them
    sizes.tolerance = GetParam() == Precision::kBf16   ? 2e-2
                      : GetParam() == Precision::kTf32 ? 3e-3
                                                       : 1e-5;
    return sizes;
  }
};

TEST_P(CudaBackendTest, Layers) {
  for (const int64_t seeds : {0, 1, 3}) testing::LayerCheck(make_case(seeds)).run();
}

TEST_P(CudaBackendTest, LayersOfOtherSizes) {
  BackendCase narrow = make_case(2);
  narrow.width = 7;
  narrow.one_hot = 5;
  testing::LayerCheck(narrow).run();
  BackendCase odd = make_case();
  odd.rows = 13;
  odd.width = 129;
  odd.inputs = 45;
  odd.joined = 33;
  odd.outputs = 28;
  odd.one_hot = 1;
  testing::LayerCheck(odd).run();
}

TEST_P(CudaBackendTest, LayersOfThePapersSizes) {
  for (const int64_t seeds : {0, 5}) {
    BackendCase paper = make_case(seeds);
    paper.rows = 1024;
    paper.width = 512;
    paper.one_hot = 100;
    testing::LayerCheck(paper).run();
  }
}

TEST_P(CudaBackendTest, BetweenTheLayers) {
  for (const int64_t seeds : {0, 3}) testing::BetweenCheck(make_case(seeds)).run();
  BackendCase many = make_case(2);
  many.rows = 1100;
  many.joined = 11;
  many.outputs = 9;
  testing::BetweenCheck(many).run();
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaBackendTest,
                         ::testing::Values(Precision::kFp32, Precision::kTf32, Precision::kBf16),
                         [](const auto& info) { return to_string(info.param); });

}  // namespace
}  // namespace drop
