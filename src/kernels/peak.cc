#include "kernels/peak.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "drop/base/timing.h"

namespace drop {

double peak_flops(c10::Device device, Precision precision) {
  constexpr int kRepetitions = 5;
  const c10::InferenceMode no_autograd;
  const int64_t rows = device.is_cuda() ? 8192 : 1024;
  const int64_t width = device.is_cuda() ? 8192 : 512;
  const auto options =
      at::TensorOptions(device).dtype(precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat);
  const at::Tensor x = at::rand({rows, width}, options);
  const at::Tensor y = at::rand({width, width}, options);
  at::Tensor product = at::empty({rows, width}, options);
  double best_s = 0.0;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    const double seconds = seconds_of([&] {
      at::mm_out(product, x, y);
      if (device.is_cuda()) product[0][0].item();  // waits for the device
    });
    // the first one warms up
    if (repetition == 1 || (repetition > 1 && seconds < best_s)) best_s = seconds;
  }
  return 2.0 * static_cast<double>(rows * width * width) / best_s;
}

}  // namespace drop
