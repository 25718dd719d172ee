#pragma once

#include <cstdint>
#include <functional>
#include <set>

/// CUDA without a GPU, for tests: the sources of src/kernels/cuda_* run as they are, over a runtime
/// and a cuBLASLt that work on the CPU's memory. Kernels run thread by thread, in an order that can
/// be changed; a recorded graph runs its nodes in a random order that its dependencies allow; what
/// would not be allowed on a GPU (work outside of a recording, waiting inside of one, a wrong
/// leading dimension) fails. Shows wrong indices, missing barriers and missing waits; shows nothing
/// about what the real cuBLASLt supports, or about speed.
namespace drop::emulation {

/// How the emulation behaves; set it back after use.
struct Settings {
  bool reverse_threads = false;   ///< the last thread of a block runs first
  bool reverse_bits = false;      ///< ReLU's bits lie in another order than our kernels'
  std::set<int> refused;          ///< epilogues (cublasLtEpilogue_t) that are not offered
  std::set<int> refused_late;     ///< and those that are, but do not run
  uint64_t graph_order_seed = 1;  ///< of the random order of a graph's nodes
};
Settings& settings();

/// What was done since the last call.
struct Counts {
  int64_t kernels = 0;
  int64_t products = 0;
  int64_t recorded = 0;  ///< kernels and products put into graphs
};
Counts take_counts();
void count_product();

/// Enqueues host work as a kernel would be.
void enqueue(void* stream, std::function<void()> work);

}  // namespace drop::emulation
