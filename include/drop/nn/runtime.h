#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "drop/base/machine_check.h"
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
/// dead units decay into denormals, which slow a CPU down many times; threads that start later take
/// that over, so results do not depend on who computes them). Logs a warning for each of
/// `settings_findings`, and for a GPU that `auto` cannot use because of its driver. Throws
/// UsageError when CUDA is asked for but absent, or a precision that the device does not have.
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

/// LibTorch version, BLAS and the vector code it takes, threads, device, precision.
Report runtime_report(const Runtime& runtime);

/// Environment variables that slow LibTorch and its libraries down without a word, and a CPU
/// that they have no fast code for.
std::vector<Finding> settings_findings();

/// A driver's and a build's CUDA versions, as 1000 * major + 10 * minor; 0 = none. What keeps the
/// two from working together, or a CPU build from using a GPU.
std::optional<Finding> driver_finding(int driver, int build);

/// The installed NVIDIA driver's CUDA version; 0 without one. Needs no CUDA build.
int driver_cuda_version();

/// The CUDA version that this build's LibTorch is made for; 0 in a CPU build.
int build_cuda_version();

/// True when all of LibTorch's threads drop denormals.
bool denormals_are_flushed();

/// Operations per second of a float32 product on one thread.
double product_speed();

/// @param per_second  product_speed
/// @param megahertz   of the CPU; 0 = unknown
std::optional<Finding> product_finding(double per_second, double megahertz);

}  // namespace drop
