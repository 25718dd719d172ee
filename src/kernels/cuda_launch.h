#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda_check.h"

namespace drop::cuda {

/// Puts a kernel on a stream. Throws RunError when it cannot be launched.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, cudaStream_t stream,
            const Arguments&... arguments) {
  kernel<<<grid, block, 0, stream>>>(Parameters(arguments)...);
  check(cudaGetLastError(), "kernel launch");
}

}  // namespace drop::cuda
