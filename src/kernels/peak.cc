#include "kernels/peak.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <functional>

#include "drop/base/timing.h"
#include "kernels/bf16_backend.h"

namespace drop {

namespace {

// operations per second of the fastest of several products of [rows, width] and [width, width]
double fastest(int64_t rows, int64_t width, const std::function<void()>& product) {
  constexpr int kRepetitions = 20;
  product();  // warms up
  double best_s = seconds_of(product);
  for (int i = 1; i < kRepetitions; ++i) best_s = std::min(best_s, seconds_of(product));
  return 2.0 * static_cast<double>(rows * width * width) / best_s;
}

}  // namespace

double peak_flops(c10::Device device, Precision precision) {
  const c10::InferenceMode no_autograd;
  const bool on_gpu = device.is_cuda();
  const bool bf16 = precision == Precision::kBf16;
  const int64_t rows = on_gpu ? 8192 : 1024;
  const int64_t width = on_gpu ? 8192 : 512;
  const auto options = at::TensorOptions(device).dtype(bf16 ? at::kBFloat16 : at::kFloat);
  const at::Tensor x = at::rand({rows, width}, options);
  const at::Tensor y = at::rand({width, width}, options);
  at::Tensor product = at::empty({rows, width}, options);
  const double library = fastest(rows, width, [&] {
    at::mm_out(product, x, y);
    if (on_gpu) product[0][0].item();  // waits for the device
  });
  // LibTorch packs its operands anew at every call; the machine itself can do more
  if (on_gpu || !bf16) return library;
  return std::max(library, fastest(rows, width, bf16_product_benchmark()));
}

}  // namespace drop
