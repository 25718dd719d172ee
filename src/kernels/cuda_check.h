#pragma once

#include <cuda_runtime_api.h>

namespace drop::cuda {

/// Throws RunError that names what failed and the runtime's own words for it.
void check(cudaError_t status, const char* what);

}  // namespace drop::cuda
