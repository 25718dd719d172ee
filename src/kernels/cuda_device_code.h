#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda_kernels.h"
#include "kernels/cuda_launch.h"

/// What several .cu files share.
namespace drop::cuda {

constexpr int kWarp = 32;

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
template <typename T>
__device__ inline T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16(value);
}

/// 16 bytes of elements: what a thread reads at once.
template <typename T>
struct alignas(16) Vector {
  static constexpr int kCount = 16 / static_cast<int>(sizeof(T));
  T values[kCount];
};

/// First element of a row of a seed.
template <typename T>
__device__ inline T* row_of(const Rows<T>& rows, int64_t seed, int64_t row) {
  return rows.data + seed * rows.seed_stride + row * rows.row_stride;
}
template <typename T>
__device__ inline T* row_of(const Matrix& matrix, int64_t seed, int64_t row) {
  return static_cast<T*>(matrix.data) + seed * matrix.seed_stride + row * matrix.row_stride;
}

/// Sum over the block's threads (whole warps), in an order that never changes; every thread gets
/// it. All threads of the block must call.
template <typename T>
__device__ inline T block_sum(T value) {
  __shared__ T partial[kWarp];
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  __syncthreads();  // the results of an earlier call have been read
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  T total = 0;
  for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) total += partial[warp];
  return total;
}

inline unsigned blocks_for(int64_t count, int64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

/// Calls body with a value of the element's C++ type.
template <typename Body>
void with_element(Element element, const Body& body) {
  if (element == Element::kFloat)
    body(float{});
  else
    body(__nv_bfloat16{});
}

}  // namespace drop::cuda
