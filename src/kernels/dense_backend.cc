#include "kernels/dense_backend.h"

#include "drop/base/error.h"
#include "kernels/avx512_backend.h"
#include "kernels/bf16_backend.h"
#include "kernels/cpu_backend.h"
#include "kernels/make_cuda_backend.h"

namespace drop {

bool cpu_has_bf16() { return bf16::best_isa() != bf16::Isa::kNone; }

std::unique_ptr<DenseBackend> make_dense_backend(const BackendOptions& options) {
#ifdef DROP_WITH_CUDA
  if (options.device.is_cuda()) return make_cuda_backend(options);
#endif
  const bool is_float = options.type == at::kFloat;
  if (options.device.is_cpu() && options.precision == Precision::kFp32) {
    if (!is_float) return std::make_unique<CpuBackend<double>>();
    if (cpu_has_avx512()) return make_avx512_backend();
    return std::make_unique<CpuBackend<float>>();
  }
  if (options.device.is_cpu() && options.precision == Precision::kBf16 && is_float)
    return make_bf16_backend(options.training);
  throw UsageError("precision: found " + to_string(options.precision) + " on " +
                   options.device.str() + "; allowed here: fp32" +
                   (cpu_has_bf16() ? ", bf16" : ""));
}

}  // namespace drop
