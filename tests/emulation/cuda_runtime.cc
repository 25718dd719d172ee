#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "cuda_emulation.h"
#include "drop/base/error.h"
#include "kernels/cuda_device.h"
#include "kernels/cuda_launch.h"

namespace drop::emulation {

namespace {

// ---- threads of a block, as coroutines

constexpr size_t kStackBytes = 256 * 1024;
constexpr unsigned kWarp = 32;

// carries out one thread of each block in turn
struct Fiber {
  ucontext_t context{};  // enters it the first time
  jmp_buf resume{};      // and ever after
  std::unique_ptr<char[]> stack;
  uint3 index{};
  bool done = false;
};

struct WarpExchange {
  uint64_t values[2][kWarp] = {};  // of this and of the previous exchange
  unsigned arrived = 0;
  uint64_t generation = 0;
};

struct Block {
  jmp_buf scheduler{};
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<WarpExchange> warps;
  const std::function<void()>* thread = nullptr;
  unsigned current = 0;
  unsigned arrived = 0;  // at the block's barrier
  uint64_t generation = 0;
};

Block& block() {
  static Block instance;
  return instance;
}

// back to the scheduler, until it resumes this thread
void yield() {
  Block& b = block();
  if (_setjmp(b.fibers[b.current]->resume) == 0) _longjmp(b.scheduler, 1);
}

void run_threads() {
  for (;;) {
    (*block().thread)();
    block().fibers[block().current]->done = true;
    yield();
  }
}

[[gnu::noinline]] void resume(Fiber& fiber) {
  if (_setjmp(block().scheduler) != 0) return;
  if (fiber.stack) _longjmp(fiber.resume, 1);
  fiber.stack.reset(new char[kStackBytes]);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run_threads, 0);
  setcontext(&fiber.context);
}

// runs the lanes of a warp until all of them are done or wait for the block; returns how many wait
unsigned run_warp(unsigned warp) {
  Block& b = block();
  for (;;) {
    const uint64_t exchanges = b.warps[warp].generation;
    const unsigned arrived = b.arrived;
    unsigned alive = 0;
    bool finished = false;
    for (unsigned i = 0; i < kWarp; ++i) {
      b.current = warp * kWarp + (settings().reverse_threads ? kWarp - 1 - i : i);
      Fiber& fiber = *b.fibers[b.current];
      if (fiber.done) continue;
      threadIdx = fiber.index;
      resume(fiber);
      if (fiber.done) finished = true;
      if (!fiber.done) ++alive;
    }
    if (exchanges == b.warps[warp].generation && arrived == b.arrived && !finished) return alive;
  }
}

void run_block(dim3 shape, const std::function<void()>& thread) {
  Block& b = block();
  const unsigned count = shape.x * shape.y * shape.z;
  if (count % kWarp != 0) throw std::logic_error("emulation: a block of half warps");
  while (b.fibers.size() < count) b.fibers.push_back(std::make_unique<Fiber>());
  b.warps.assign(count / kWarp, {});
  b.thread = &thread;
  b.arrived = 0;
  for (unsigned i = 0; i < count; ++i) {
    b.fibers[i]->index = {i % shape.x, i / shape.x % shape.y, i / (shape.x * shape.y)};
    b.fibers[i]->done = false;
  }
  for (;;) {
    unsigned alive = 0;
    for (unsigned i = 0; i < b.warps.size(); ++i) {
      const auto last = static_cast<unsigned>(b.warps.size() - 1);
      alive += run_warp(settings().reverse_threads ? last - i : i);
    }
    if (alive == 0) return;
    if (b.arrived != alive) throw std::logic_error("emulation: threads wait for ever");
    b.arrived = 0;
    ++b.generation;
  }
}

// ---- streams, events and graphs

struct Node {
  std::function<void()> work;
  std::set<size_t> after;
};
struct Graph {
  std::vector<Node> nodes;
};
struct Stream {
  std::shared_ptr<Graph> recording;
  std::set<size_t> last;  // nodes that what comes next must wait for
};
struct Event {
  std::shared_ptr<Graph> recording;
  std::set<size_t> last;
};

struct Runtime {
  Settings settings;
  Counts counts;
  Stream default_stream, side_stream;
  Stream* current = &default_stream;
  std::weak_ptr<Graph> active;    // a recording that is going on
  std::set<Stream*> taking_part;  // in that
};
Runtime& runtime() {
  static Runtime instance;
  return instance;
}

Stream& stream_at(void* handle) {
  return handle == nullptr ? runtime().default_stream : *static_cast<Stream*>(handle);
}

}  // namespace

Settings& settings() { return runtime().settings; }

Counts take_counts() { return std::exchange(runtime().counts, {}); }

void count_product() { ++runtime().counts.products; }

void enqueue(void* handle, std::function<void()> work) {
  Stream& stream = stream_at(handle);
  if (!stream.recording) {
    if (!runtime().active.expired())
      throw std::logic_error("emulation: work on a stream outside of the recording");
    work();
    return;
  }
  ++runtime().counts.recorded;
  std::vector<Node>& nodes = stream.recording->nodes;
  nodes.push_back({std::move(work), stream.last});
  stream.last = {nodes.size() - 1};
}

void run_kernel(cudaStream_t stream, dim3 grid, dim3 block, const std::function<void()>& thread) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x * block.y * block.z > 1024)
    throw std::logic_error("emulation: a launch that no GPU would take");
  enqueue(stream, [grid, block, thread] {
    ++runtime().counts.kernels;
    blockDim = block;
    for (unsigned z = 0; z < grid.z; ++z) {
      for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) {
          blockIdx = {x, y, z};
          run_block(block, thread);
        }
      }
    }
  });
}

void wait_for_block() {
  Block& b = block();
  const uint64_t generation = b.generation;
  ++b.arrived;
  while (b.generation == generation) yield();
}

unsigned lane() { return block().current % kWarp; }

const uint64_t* exchange_in_warp(uint64_t value) {
  Block& b = block();
  WarpExchange& warp = b.warps[b.current / kWarp];
  const uint64_t generation = warp.generation;
  warp.values[generation % 2][lane()] = value;
  if (++warp.arrived == kWarp) {
    warp.arrived = 0;
    ++warp.generation;
  }
  while (warp.generation == generation) yield();
  return warp.values[generation % 2];
}

}  // namespace drop::emulation

// ---- what src/kernels/cuda_device.cc does with LibTorch

namespace drop::cuda {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw RunError(std::string(what) + ": " + std::to_string(status));
}

c10::Device require_gpu(c10::Device) { return c10::kCPU; }

cudaStream_t current_stream(c10::Device) {
  emulation::Runtime& runtime = emulation::runtime();
  if (runtime.current == &runtime.default_stream) return nullptr;
  return reinterpret_cast<cudaStream_t>(runtime.current);
}

void on_side_stream(c10::Device, const std::function<void()>& work) {
  emulation::Runtime& runtime = emulation::runtime();
  emulation::Stream* const before = std::exchange(runtime.current, &runtime.side_stream);
  try {
    work();
  } catch (...) {
    runtime.current = before;
    throw;
  }
  runtime.current = before;
}

}  // namespace drop::cuda

// ---- the CUDA runtime

using drop::emulation::Event;
using drop::emulation::Graph;
using drop::emulation::runtime;
using drop::emulation::Stream;
using drop::emulation::stream_at;

extern "C" {

cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaDeviceSynchronize() {
  return runtime().active.expired() ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = reinterpret_cast<cudaStream_t>(new Stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete reinterpret_cast<Stream*>(stream);
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(new Event);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete reinterpret_cast<Event*>(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  const Stream& stream = stream_at(handle);
  *reinterpret_cast<Event*>(event) = {stream.recording, stream.last};
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  Stream& stream = stream_at(handle);
  const Event& awaited = *reinterpret_cast<Event*>(event);
  if (stream.recording && stream.recording != awaited.recording)
    return cudaErrorStreamCaptureIsolation;
  if (awaited.recording) {
    stream.recording = awaited.recording;
    runtime().taking_part.insert(&stream);
    stream.last.insert(awaited.last.begin(), awaited.last.end());
  }
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status =
      stream_at(stream).recording ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode) {
  if (handle == nullptr) return cudaErrorStreamCaptureUnsupported;
  Stream& stream = stream_at(handle);
  stream.recording = std::make_shared<Graph>();
  stream.last.clear();
  runtime().active = stream.recording;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* result) {
  Stream& stream = stream_at(handle);
  const std::shared_ptr<Graph> graph = stream.recording;
  // everything recorded must lie before the stream's end
  std::set<size_t> reached = stream.last;
  for (size_t i = graph->nodes.size(); i-- > 0;) {
    if (reached.count(i) > 0)
      reached.insert(graph->nodes[i].after.begin(), graph->nodes[i].after.end());
  }
  for (Stream* other : runtime().taking_part) *other = {};
  runtime().taking_part.clear();
  stream = {};
  runtime().active.reset();
  if (reached.size() != graph->nodes.size()) return cudaErrorStreamCaptureUnjoined;
  *result = reinterpret_cast<cudaGraph_t>(new Graph(*graph));
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* result, cudaGraph_t graph, unsigned long long) {
  *result = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<Graph*>(graph)));
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete reinterpret_cast<Graph*>(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete reinterpret_cast<Graph*>(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t handle, cudaStream_t stream) {
  drop::emulation::enqueue(stream, [handle] {
    const std::vector<drop::emulation::Node>& nodes = reinterpret_cast<Graph*>(handle)->nodes;
    std::mt19937_64 order(runtime().settings.graph_order_seed++);
    std::vector<std::vector<size_t>> later(nodes.size());
    std::vector<size_t> open(nodes.size());
    std::vector<size_t> ready;
    for (size_t i = 0; i < nodes.size(); ++i) {
      open[i] = nodes[i].after.size();
      for (const size_t before : nodes[i].after) later[before].push_back(i);
      if (open[i] == 0) ready.push_back(i);
    }
    while (!ready.empty()) {
      const size_t chosen = order() % ready.size();
      const size_t node = ready[chosen];
      ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(chosen));
      nodes[node].work();
      for (const size_t next : later[node]) {
        if (--open[next] == 0) ready.push_back(next);
      }
    }
  });
  return cudaSuccess;
}

}  // extern "C"
