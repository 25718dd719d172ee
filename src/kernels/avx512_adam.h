#pragma once

#include <cstdint>

namespace drop::avx512 {

/// Adam (beta 0.9 and 0.999, epsilon 1e-8 outside the root) over n parameters. Denormals count as
/// zero. Returns false when a gradient is not finite.
struct AdamRates {
  float step_size;        ///< learning rate / (1 - 0.9^t)
  float root_correction;  ///< 1 / sqrt(1 - 0.999^t)
};
bool adam(float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq, int64_t n,
          const AdamRates& rates);

/// target += rate * (source - target)
void soft_update(float* target, const float* source, int64_t n, float rate);

}  // namespace drop::avx512
