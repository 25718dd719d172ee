#include "chosen_backend.h"

#include "kernels/cpu_backend.h"
#include "kernels/make_cuda_backend.h"

namespace drop {

namespace {

bool& cuda_chosen() {
  static bool chosen = false;
  return chosen;
}

}  // namespace

emulation::CudaChosen::CudaChosen() { cuda_chosen() = true; }
emulation::CudaChosen::~CudaChosen() { cuda_chosen() = false; }

// in place of src/kernels/dense_backend.cc
bool cpu_has_bf16() { return false; }

std::unique_ptr<DenseBackend> make_dense_backend(const BackendOptions& options) {
  if (cuda_chosen()) return make_cuda_backend(options);
  return std::make_unique<CpuBackend<float>>();
}

}  // namespace drop
