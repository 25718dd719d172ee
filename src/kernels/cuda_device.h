#pragma once

#include <c10/core/Device.h>
#include <cuda_runtime_api.h>

#include <functional>

namespace drop::cuda {

/// The device with its index. Throws UsageError where there is no GPU.
c10::Device require_gpu(c10::Device device);

/// The stream that LibTorch works on now.
cudaStream_t current_stream(c10::Device device);

/// Calls `work` while LibTorch works on another stream than the default one, which cannot be
/// recorded. Nothing is ordered between the two.
void on_side_stream(c10::Device device, const std::function<void()>& work);

}  // namespace drop::cuda
