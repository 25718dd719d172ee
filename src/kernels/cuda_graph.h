#pragma once

#include <c10/core/Device.h>
#include <cuda_runtime_api.h>

#include <functional>

namespace drop::cuda {

/// Device work recorded once and replayed with one launch (a CUDA graph).
///
/// What is recorded may only put work on the current stream, and on others that wait for it and
/// that it waits for in the end; it must have run once before (so that everything is loaded), must
/// not allocate, and must not read results: addresses and numbers of the host are baked in.
class Graph {
 public:
  Graph() = default;
  /// Records what `work` enqueues, without carrying it out. Throws RunError.
  Graph(c10::Device device, const std::function<void()>& work);
  ~Graph();
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;

  bool empty() const { return graph_ == nullptr; }
  /// Enqueues the work on the current stream.
  void replay() const;

 private:
  c10::Device device_{c10::kCUDA};
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace drop::cuda
