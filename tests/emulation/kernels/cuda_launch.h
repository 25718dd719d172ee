#pragma once

#include <cuda_runtime.h>

#include <cstring>
#include <functional>
#include <tuple>

#include "kernels/cuda_check.h"

// kernels compiled as plain C++: one block runs at a time, its threads take turns
#undef __shared__
#define __shared__ static
#undef __launch_bounds__
#define __launch_bounds__(...)

/// Stands in for src/kernels/cuda_launch.h where CUDA kernels run on the CPU: see cuda_emulation.h.
namespace drop::emulation {

/// Runs a thread's code for every thread of every block, on a stream, or records it.
void run_kernel(cudaStream_t stream, dim3 grid, dim3 block, const std::function<void()>& thread);
/// Lets the other threads of the block come to the same point.
void wait_for_block();
/// Gives a value to all lanes of the warp and returns theirs.
const uint64_t* exchange_in_warp(uint64_t value);
unsigned lane();

}  // namespace drop::emulation

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim;

inline void __syncthreads() { drop::emulation::wait_for_block(); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int offset) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(value));
  const uint64_t* all = drop::emulation::exchange_in_warp(bits);
  std::memcpy(&value, &all[drop::emulation::lane() ^ static_cast<unsigned>(offset)], sizeof(value));
  return value;
}

inline unsigned __ballot_sync(unsigned, bool predicate) {
  const uint64_t* all = drop::emulation::exchange_in_warp(predicate ? 1 : 0);
  unsigned word = 0;
  for (unsigned lane = 0; lane < 32; ++lane) word |= static_cast<unsigned>(all[lane]) << lane;
  return word;
}

namespace drop::cuda {

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, cudaStream_t stream,
            const Arguments&... arguments) {
  const std::tuple<Parameters...> values(arguments...);
  emulation::run_kernel(stream, grid, block, [kernel, values] { std::apply(kernel, values); });
}

}  // namespace drop::cuda
