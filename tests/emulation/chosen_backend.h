#pragma once

namespace drop::emulation {

/// While one of these lives, make_dense_backend makes emulated CUDA backends, whatever the device.
class CudaChosen {
 public:
  CudaChosen();
  ~CudaChosen();
};

}  // namespace drop::emulation
