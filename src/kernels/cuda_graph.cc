#include "kernels/cuda_graph.h"

#include <utility>

#include "kernels/cuda_check.h"
#include "kernels/cuda_device.h"

namespace drop::cuda {

Graph::Graph(c10::Device device, const std::function<void()>& work) : device_(device) {
  on_side_stream(device, [&] {
    const cudaStream_t stream = current_stream(device);
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
    cudaGraph_t recorded = nullptr;
    try {
      work();
    } catch (...) {
      // leave the stream usable; what went wrong is on its way
      cudaStreamEndCapture(stream, &recorded);
      if (recorded != nullptr) cudaGraphDestroy(recorded);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream, &recorded), "cudaStreamEndCapture");
    const cudaError_t status = cudaGraphInstantiate(&graph_, recorded, 0);
    cudaGraphDestroy(recorded);
    check(status, "cudaGraphInstantiate");
  });
}

Graph::~Graph() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
}

Graph::Graph(Graph&& other) noexcept
    : device_(other.device_), graph_(std::exchange(other.graph_, nullptr)) {}

Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(graph_, other.graph_);
  return *this;
}

void Graph::replay() const {
  check(cudaGraphLaunch(graph_, current_stream(device_)), "cudaGraphLaunch");
}

}  // namespace drop::cuda
