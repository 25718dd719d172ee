#pragma once

#include <functional>
#include <memory>

#include "kernels/bf16_kernels.h"
#include "kernels/dense_backend.h"

namespace drop {

/// The CPU backend with products in bfloat16 (AMX or AVX512-BF16): weights and activations live in
/// packed bfloat16 forms, sums, plain tensors, master weights and Adam in float. Results do not
/// depend on the number of threads. Throws UsageError where the CPU has no such products.
std::unique_ptr<DenseBackend> make_bf16_backend(bool training);

/// The same with instructions of choice, which the CPU must have: for tests and benchmarks.
std::unique_ptr<DenseBackend> make_bf16_backend(bool training, bf16::Isa isa);

/// What the backend's products are measured against: each call computes the bare product
/// [1024, 512] x [512, 512] of packed operands on LibTorch's threads.
std::function<void()> bf16_product_benchmark();

}  // namespace drop
