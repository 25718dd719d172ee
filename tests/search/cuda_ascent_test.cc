// Ascents on a GPU against those on the CPU.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "search/fused_ascent.h"
#include "support/models.h"

namespace drop {
namespace {

DropModel model_on(at::Device device) {
  ModelShape shape;
  shape.state_dim = 11;
  shape.action_dim = 3;
  shape.num_subtasks = 20;
  shape.hidden_width = 64;
  DropModel model(shape, at::TensorOptions(device).dtype(at::kFloat));
  RandomStream stream(7, "init");
  model.initialise(stream);
  return model;
}

TEST(CudaAscent, EndsWhereTheCpusDoes) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU here";
  const DropModel host = model_on(at::kCPU);
  const DropModel device = model_on(at::kCUDA);
  const at::Tensor states = testing::uniform({3, 11}, 1).to(at::kFloat);
  const at::Tensor starts = testing::uniform({3, 37, 5}, 2, -0.9, 0.9).to(at::kFloat);
  FusedAscent cpu("cpu", host, Precision::kFp32);
  for (const auto& [precision, tolerance] :
       {std::pair(Precision::kFp32, 1e-4), std::pair(Precision::kTf32, 1e-2),
        std::pair(Precision::kBf16, 5e-2)}) {
    FusedAscent cuda("cuda", device, precision);
    for (const bool best : {false, true}) {
      AscentOptions options;
      options.steps = 20;
      options.step_size = 0.05;
      options.keep_best_iterate = best;
      const AscentResult expected = cpu.run(states, starts, options);
      const double way = (expected.embeddings - starts).norm().item<double>();
      // run, record, replay
      for (int repeat = 0; repeat < 3; ++repeat) {
        const AscentResult found = cuda.run(states.cuda(), starts.cuda(), options);
        const double error = (found.embeddings.cpu() - expected.embeddings).norm().item<double>();
        EXPECT_LT(error, tolerance * way) << to_string(precision);
        cuda.run(states.cuda() * 0.5, starts.cuda() * 0.5, options);
      }
    }
  }
}

}  // namespace
}  // namespace drop
