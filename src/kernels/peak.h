#pragma once

#include <c10/core/Device.h>

#include "drop/config/config.h"

namespace drop {

/// Floating-point operations per second of the best large matrix product known here, with the
/// threads that LibTorch is set to: what this machine can do at this moment, best of a few. On a
/// CPU the product of the paper's step, [1024, 512] x [512, 512]; on a GPU one that fills it.
double peak_flops(c10::Device device, Precision precision);

}  // namespace drop
