#pragma once

#include <memory>

#include "kernels/dense_backend.h"

namespace drop {

/// True when this CPU has the instructions of the AVX-512 backend.
bool cpu_has_avx512();

/// The CPU backend in float32 with own products on AVX-512: weights packed once for each change,
/// biases, shared sums, ReLUs and masks applied where a product ends. Results do not depend on the
/// number of threads. Throws UsageError where the CPU has no AVX-512.
std::unique_ptr<DenseBackend> make_avx512_backend();

}  // namespace drop
