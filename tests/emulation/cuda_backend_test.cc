// The CUDA backend's own sources, run without a GPU: tests/emulation/cuda_emulation.h.
#include "kernels/cuda_backend.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "cuda_emulation.h"
#include "drop/base/error.h"
#include "kernels/backend_checks.h"
#include "kernels/cuda_device.h"
#include "kernels/cuda_graph.h"

namespace drop {
namespace {

using testing::BackendCase;

// settings as they were, after each test
class CudaEmulated : public ::testing::Test {
 protected:
  void TearDown() override { emulation::settings() = {}; }
};

BackendCase make_case(Precision precision, int64_t num_seeds = 0) {
  BackendCase sizes;
  sizes.make = [precision](int64_t seeds) {
    return std::make_unique<CudaBackend>(
        BackendOptions{at::kCUDA, at::kFloat, precision, seeds, /*training=*/true});
  };
  sizes.num_seeds = num_seeds;
  sizes.tolerance = precision == Precision::kBf16 ? 2e-2 : 1e-5;
  return sizes;
}

TEST_F(CudaEmulated, Layers) {
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
    for (const int64_t seeds : {0, 3}) testing::LayerCheck(make_case(precision, seeds)).run();
  }
}

TEST_F(CudaEmulated, LayersOfOtherSizes) {
  // narrow ones, which no product library sees; odd ones; many inputs and outputs
  BackendCase narrow = make_case(Precision::kFp32, 2);
  narrow.width = 7;
  narrow.one_hot = 5;
  testing::LayerCheck(narrow).run();
  BackendCase odd = make_case(Precision::kFp32);
  odd.rows = 13;
  odd.width = 129;
  odd.inputs = 45;
  odd.joined = 33;
  odd.outputs = 28;
  odd.one_hot = 1;
  testing::LayerCheck(odd).run();
  BackendCase wide = make_case(Precision::kBf16, 2);
  wide.rows = 40;
  wide.width = 64;
  wide.inputs = 73;
  wide.outputs = 34;
  wide.one_hot = 40;
  testing::LayerCheck(wide).run();
}

TEST_F(CudaEmulated, ThreadsMayRunInAnyOrder) {
  emulation::settings().reverse_threads = true;
  testing::LayerCheck(make_case(Precision::kFp32, 2)).run();
  testing::BetweenCheck(make_case(Precision::kFp32, 2)).run();
}

// whatever epilogue the library lacks, our own kernels do
TEST_F(CudaEmulated, EveryEpilogueHasASubstitute) {
  for (const std::set<int>& refused :
       {std::set<int>{CUBLASLT_EPILOGUE_RELU_AUX_BIAS},
        std::set<int>{CUBLASLT_EPILOGUE_RELU_AUX, CUBLASLT_EPILOGUE_RELU_AUX_BIAS},
        std::set<int>{CUBLASLT_EPILOGUE_DRELU}, std::set<int>{CUBLASLT_EPILOGUE_BGRADB},
        std::set<int>{CUBLASLT_EPILOGUE_BIAS},
        std::set<int>{CUBLASLT_EPILOGUE_RELU_AUX, CUBLASLT_EPILOGUE_RELU_AUX_BIAS,
                      CUBLASLT_EPILOGUE_DRELU, CUBLASLT_EPILOGUE_BGRADB, CUBLASLT_EPILOGUE_BIAS}}) {
    emulation::settings().refused = refused;
    testing::LayerCheck(make_case(Precision::kFp32, 2)).run();
    testing::LayerCheck(make_case(Precision::kBf16)).run();
  }
  emulation::settings().refused.clear();
  emulation::settings().refused_late = {CUBLASLT_EPILOGUE_RELU_AUX_BIAS, CUBLASLT_EPILOGUE_DRELU,
                                        CUBLASLT_EPILOGUE_BGRADB, CUBLASLT_EPILOGUE_BIAS};
  testing::LayerCheck(make_case(Precision::kFp32, 2)).run();
  emulation::settings().refused = {CUBLASLT_EPILOGUE_DEFAULT};
  EXPECT_THROW(testing::LayerCheck(make_case(Precision::kFp32)).run(), RunError);
}

// bits of another order are the library's own affair: ours are then not given to it
TEST_F(CudaEmulated, BitsOfAnotherOrderAreNoticed) {
  emulation::settings().reverse_bits = true;
  testing::LayerCheck(make_case(Precision::kFp32, 2)).run();
  testing::LayerCheck(make_case(Precision::kBf16)).run();
}

TEST_F(CudaEmulated, BetweenTheLayers) {
  for (const int64_t seeds : {0, 1, 3})
    testing::BetweenCheck(make_case(Precision::kFp32, seeds)).run();
}

TEST_F(CudaEmulated, BetweenTheLayersManyRows) {
  BackendCase many = make_case(Precision::kFp32, 2);
  many.rows = 1100;
  many.joined = 11;
  many.outputs = 9;
  testing::BetweenCheck(many).run();
}

TEST_F(CudaEmulated, GraphReplaysWhatWasRecorded) {
  int value = 0;
  const auto add = [&] { emulation::enqueue(cuda::current_stream(at::kCPU), [&] { ++value; }); };
  const cuda::Graph graph(at::kCPU, [&] {
    add();
    add();
  });
  EXPECT_EQ(value, 0);
  graph.replay();
  graph.replay();
  EXPECT_EQ(value, 4);
}

TEST_F(CudaEmulated, GraphRefusesBranchesThatDoNotComeBack) {
  CudaBackend backend({at::kCUDA, at::kFloat, Precision::kFp32, 0, true});
  const at::Tensor values = backend.plain({8, 3});
  const auto work = [&](bool join) {
    backend.wait(1, 0);
    backend.branch(1);
    backend.through_tanh(values, values, 8);
    backend.branch(0);
    if (join) backend.wait(0, 1);
  };
  work(true);
  EXPECT_NO_THROW(cuda::Graph(at::kCPU, [&] { work(true); }));
  EXPECT_THROW(cuda::Graph(at::kCPU, [&] { work(false); }), RunError);
  // and leaves everything usable
  EXPECT_NO_THROW(cuda::Graph(at::kCPU, [&] { work(true); }));
}

}  // namespace
}  // namespace drop
