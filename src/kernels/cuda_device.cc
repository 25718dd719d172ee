#include "kernels/cuda_device.h"

#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <string>

#include "drop/base/error.h"
#include "kernels/cuda_check.h"

namespace drop::cuda {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw RunError(std::string(what) + ": " + cudaGetErrorString(status));
}

c10::Device require_gpu(c10::Device device) {
  const int count = c10::cuda::device_count();
  if (count == 0 || device.index() >= count) {
    throw UsageError("device: found " + device.str() + " where there are " + std::to_string(count) +
                     " GPUs; allowed: cpu, or a GPU with its driver");
  }
  if (device.has_index()) return device;
  return {c10::kCUDA, c10::cuda::current_device()};
}

cudaStream_t current_stream(c10::Device device) {
  return c10::cuda::getCurrentCUDAStream(device.index()).stream();
}

void on_side_stream(c10::Device device, const std::function<void()>& work) {
  const c10::cuda::CUDAStreamGuard guard(
      c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()));
  work();
}

}  // namespace drop::cuda
