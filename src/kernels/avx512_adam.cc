#include "kernels/avx512_adam.h"

#if defined(__x86_64__)

#include <immintrin.h>

// false alarms of GCC 12 inside its own intrinsics (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

// runs only where the CPU has these instructions
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")

namespace drop::avx512 {

namespace {

constexpr int64_t kLanes = 16;

inline __mmask16 first_lanes(int64_t n) {
  return n >= kLanes ? __mmask16{0xFFFF} : __mmask16((1U << n) - 1);
}

// denormals as zero for as long as it lives: they cost hundreds of cycles each
class FlushDenormals {
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040U); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_;
};

}  // namespace

bool adam(float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq, int64_t n,
          const AdamRates& rates) {
  const FlushDenormals flush;
  const __m512 one_minus_beta1 = _mm512_set1_ps(static_cast<float>(1.0 - 0.9));
  const __m512 beta2 = _mm512_set1_ps(0.999f);
  const __m512 one_minus_beta2 = _mm512_set1_ps(static_cast<float>(1.0 - 0.999));
  const __m512 epsilon = _mm512_set1_ps(1e-8f);
  const __m512 step = _mm512_set1_ps(rates.step_size);
  const __m512 root_correction = _mm512_set1_ps(rates.root_correction);
  __m512 check = _mm512_setzero_ps();  // 0 * gradient: 0, or not a number for good
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 lanes = first_lanes(n - i);
    const __m512 g = _mm512_maskz_loadu_ps(lanes, gradients + i);
    __m512 m = _mm512_maskz_loadu_ps(lanes, exp_avg + i);
    __m512 v = _mm512_maskz_loadu_ps(lanes, exp_avg_sq + i);
    const __m512 p = _mm512_maskz_loadu_ps(lanes, parameters + i);
    check = _mm512_fmadd_ps(g, _mm512_setzero_ps(), check);
    m = _mm512_fmadd_ps(one_minus_beta1, _mm512_sub_ps(g, m), m);
    v = _mm512_fmadd_ps(_mm512_mul_ps(one_minus_beta2, g), g, _mm512_mul_ps(beta2, v));
    const __m512 root = _mm512_fmadd_ps(_mm512_sqrt_ps(v), root_correction, epsilon);
    const __m512 change = _mm512_div_ps(m, root);
    _mm512_mask_storeu_ps(exp_avg + i, lanes, m);
    _mm512_mask_storeu_ps(exp_avg_sq + i, lanes, v);
    _mm512_mask_storeu_ps(parameters + i, lanes, _mm512_fnmadd_ps(step, change, p));
  }
  return _mm512_cmp_ps_mask(check, check, _CMP_UNORD_Q) == 0;
}

void soft_update(float* target, const float* source, int64_t n, float rate) {
  const __m512 r = _mm512_set1_ps(rate);
  for (int64_t i = 0; i < n; i += kLanes) {
    const __mmask16 lanes = first_lanes(n - i);
    const __m512 t = _mm512_maskz_loadu_ps(lanes, target + i);
    const __m512 s = _mm512_maskz_loadu_ps(lanes, source + i);
    _mm512_mask_storeu_ps(target + i, lanes, _mm512_fmadd_ps(r, _mm512_sub_ps(s, t), t));
  }
}

}  // namespace drop::avx512

#pragma GCC pop_options

#endif
