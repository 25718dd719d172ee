#include "drop/nn/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include "drop/base/error.h"
#include "kernels/dense_backend.h"

namespace drop {

FullPrecision::FullPrecision() : allowed_(at::globalContext().allowTF32CuBLAS()) {
  at::globalContext().setAllowTF32CuBLAS(false);
}

FullPrecision::~FullPrecision() { at::globalContext().setAllowTF32CuBLAS(allowed_); }

bool cuda_available() {
#ifdef DROP_WITH_CUDA
  return at::hasCUDA();
#else
  return false;
#endif
}

Runtime configure_runtime(Device device, Precision precision, int64_t threads) {
  Runtime runtime;
  // device
  if (device == Device::kCuda && !cuda_available()) {
    throw UsageError(
        "device: found cuda, but this build has no CUDA or this machine no NVIDIA GPU; allowed "
        "here: auto, cpu; for a "
        "GPU run ./scripts/setup.sh --cuda and build the preset `cuda`");
  }
  if (device != Device::kCpu && cuda_available()) runtime.device = at::Device(at::kCUDA, 0);

  // precision
  const bool on_cpu = runtime.device.is_cpu();
  runtime.precision = precision;
  if (precision == Precision::kAuto)
    runtime.precision = on_cpu ? Precision::kFp32 : Precision::kTf32;
  if (runtime.precision == Precision::kBf16 && on_cpu && !cpu_has_bf16()) {
    throw UsageError(
        "precision: found bf16, but this CPU has neither AMX nor AVX512-BF16; allowed here: auto, "
        "fp32; set precision: auto");
  }
  if (runtime.precision == Precision::kTf32 && !runtime.device.is_cuda()) {
    throw UsageError(
        "precision: found tf32 on a CPU; allowed there: auto, fp32; set precision: auto");
  }
  at::globalContext().setAllowTF32CuBLAS(runtime.precision == Precision::kTf32);

  // threads, once for the whole process
  if (threads > available_cores()) {
    throw UsageError("threads: found " + std::to_string(threads) + "; allowed: 0 (all) to " +
                     std::to_string(available_cores()) + ", the cores this process may use");
  }
  runtime.threads = threads > 0 ? static_cast<int>(threads) : available_cores();
  at::globalContext().setFlushDenormal(true);
  at::set_num_threads(runtime.threads);
  return runtime;
}

Report runtime_report(const Runtime& runtime) {
  return {{"libtorch", TORCH_VERSION},
          {"blas", at::hasMKL() ? "MKL" : "not MKL"},
          {"cpu bf16", cpu_has_bf16() ? "yes" : "no"},
          {"device", runtime.device.str()},
          {"precision", to_string(runtime.precision)},
          {"threads", std::to_string(runtime.threads)}};
}

}  // namespace drop
