#pragma once

#include <memory>

#include "kernels/dense_backend.h"

namespace drop {

/// The backend for NVIDIA GPUs (CudaBackend); only where the build has CUDA (DROP_WITH_CUDA).
/// Throws UsageError where there is no GPU, or for a precision that it lacks.
std::unique_ptr<DenseBackend> make_cuda_backend(const BackendOptions& options);

}  // namespace drop
