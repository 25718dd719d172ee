#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "drop/base/system_report.h"
#include "drop/config/config.h"

namespace drop {

/// Where and how LibTorch computes in this process.
struct Runtime {
  at::Device device = at::kCPU;
  Precision precision = Precision::kFp32;  ///< resolved
  int threads = 1;
};

/// Sets LibTorch up once for this process: device (auto = CUDA when there is one and this build
/// can use it), threads (0 = all cores of the process), TF32, denormals flushed to zero (moments of
/// dead units decay into denormals, which slow a CPU down many times). Throws UsageError when
/// CUDA is asked for but absent, or a precision that the device does not have.
Runtime configure_runtime(Device device, Precision precision, int64_t threads);

/// As long as it lives, LibTorch's products on a GPU are float32 without TF32: for scores, actions
/// and references.
class FullPrecision {
 public:
  FullPrecision();
  ~FullPrecision();
  FullPrecision(const FullPrecision&) = delete;
  FullPrecision& operator=(const FullPrecision&) = delete;

 private:
  bool allowed_;  // TF32, before
};

/// True when this build and this machine can compute on a GPU.
bool cuda_available();

/// LibTorch version, BLAS, threads, device, precision.
Report runtime_report(const Runtime& runtime);

}  // namespace drop
