#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

// a function of this header is compiled for the host and, by nvcc, for the device
#ifdef __CUDACC__
#define DROP_HOST_DEVICE __host__ __device__
#else
#define DROP_HOST_DEVICE
#endif

/// The arithmetic of single elements, written once for CPU code, CUDA kernels and their tests.
namespace drop::arithmetic {

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.999;
constexpr double kEpsilon = 1e-8;
constexpr double kLargestMultiplier = 1e6;
constexpr double kMinLogStd = -5.0;
constexpr double kMaxLogStd = 2.0;
constexpr double kMinPosteriorLogStd = -4.0;
constexpr double kMaxPosteriorLogStd = 15.0;

/// Slots of the metrics tensor, as device code needs them: MetricSlot's.
enum Slot : int {
  kBehaviour,
  kTd,
  kGap,
  kMultiplier,
  kMeanScore,
  kKl,
  kBadStep,
  kBadBehaviour,
  kBadTd,
  kBadGap,
};

// ---- random numbers, those of RandomStream

/// Four words of Philox4x32-10: block `block` of the stream's sequence `substream`.
struct RandomBlock {
  uint32_t words[4];
  DROP_HOST_DEVICE uint64_t low() const { return words[0] | (uint64_t{words[1]} << 32); }
  DROP_HOST_DEVICE uint64_t high() const { return words[2] | (uint64_t{words[3]} << 32); }
};

DROP_HOST_DEVICE inline RandomBlock random_block(uint64_t key, uint64_t substream, uint64_t block) {
  uint32_t c0 = static_cast<uint32_t>(block);
  uint32_t c1 = static_cast<uint32_t>(block >> 32);
  uint32_t c2 = static_cast<uint32_t>(substream);
  uint32_t c3 = static_cast<uint32_t>(substream >> 32);
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53U} * c0;
    const uint64_t b = uint64_t{0xCD9E8D57U} * c2;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(b);
    c3 = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {{c0, c1, c2, c3}};
}

/// 64 uniform bits onto 0 ... bound - 1.
DROP_HOST_DEVICE inline uint64_t below(uint64_t bits, uint64_t bound) {
#ifdef __CUDA_ARCH__
  return __umul64hi(bits, bound);
#else
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(bits) * bound) >> 64);
#endif
}

/// 53 of 64 uniform bits onto [0, 1).
DROP_HOST_DEVICE inline double unit_uniform(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

/// 24 of 32 uniform bits onto [-1, 1).
DROP_HOST_DEVICE inline float symmetric_uniform(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1.0p-23f - 1.0f;
}

/// Coordinate `position` of a step's z_u, counted through the batch.
DROP_HOST_DEVICE inline float uniform_z(uint64_t key, uint64_t step, int64_t position) {
  const RandomBlock drawn = random_block(key, step, static_cast<uint64_t>(position) / 4);
  return symmetric_uniform(drawn.words[position % 4]);
}

/// Coordinate `position` of a step's posterior noise, counted through the batch: RandomStream's
/// normal, which takes one block.
/// @param key  of the stream "posterior"
DROP_HOST_DEVICE inline float posterior_noise(uint64_t key, uint64_t step, int64_t position) {
  const RandomBlock drawn = random_block(key, step, static_cast<uint64_t>(position));
  const double radius = sqrt(-2.0 * log1p(-unit_uniform(drawn.low())));
  return static_cast<float>(radius * cos(2.0 * std::numbers::pi * unit_uniform(drawn.high())));
}

/// What a batch is drawn from.
struct SamplingTable {
  const uint32_t* transition_rows;  ///< sampleable rows, sub-task after sub-task
  const int64_t* offsets;           ///< [num_subtasks + 1] into `transition_rows`
  int64_t num_subtasks;
  int64_t batch_size;
  int64_t subtasks_per_batch;  ///< 0 = each row draws its own sub-task
};

struct DrawnRow {
  int64_t subtask;
  int64_t row;  ///< of the data file
};

/// Row `row` of the batch of a step, as Sampler::draw_rows draws it.
/// @param key  of the stream "sampling"
DROP_HOST_DEVICE inline DrawnRow draw_row(const SamplingTable& table, uint64_t key, uint64_t step,
                                          int64_t row) {
  const RandomBlock own = random_block(key, step, static_cast<uint64_t>(row));
  uint64_t subtask_bits = own.low();
  if (table.subtasks_per_batch > 0) {
    const int64_t slot = table.batch_size + row % table.subtasks_per_batch;
    subtask_bits = random_block(key, step, static_cast<uint64_t>(slot)).low();
  }
  const int64_t subtask =
      static_cast<int64_t>(below(subtask_bits, static_cast<uint64_t>(table.num_subtasks)));
  const int64_t begin = table.offsets[subtask];
  const int64_t size = table.offsets[subtask + 1] - begin;
  const int64_t drawn = static_cast<int64_t>(below(own.high(), static_cast<uint64_t>(size)));
  return {subtask, table.transition_rows[begin + drawn]};
}

// ---- optimisers

/// What of an Adam step is the same for all elements.
struct AdamFactors {
  float step_size;  ///< learning rate / (1 - beta1^t)
  float root;       ///< sqrt(1 - beta2^t)
};

/// @param step  t, counted from 1
DROP_HOST_DEVICE inline AdamFactors adam_factors(double learning_rate, double step) {
  return {static_cast<float>(learning_rate / (1.0 - pow(kBeta1, step))),
          static_cast<float>(sqrt(1.0 - pow(kBeta2, step)))};
}

DROP_HOST_DEVICE inline float adam(float parameter, float gradient, float& exp_avg,
                                   float& exp_avg_sq, const AdamFactors& factors) {
  exp_avg = static_cast<float>(kBeta1) * exp_avg + static_cast<float>(1.0 - kBeta1) * gradient;
  exp_avg_sq = static_cast<float>(kBeta2) * exp_avg_sq +
               static_cast<float>(1.0 - kBeta2) * gradient * gradient;
  const float denominator = sqrtf(exp_avg_sq) / factors.root + static_cast<float>(kEpsilon);
  return parameter - factors.step_size * exp_avg / denominator;
}

/// The Lagrange multiplier's parameter and, in its logarithmic form, Adam's state.
struct MultiplierState {
  float parameter;  ///< lambda, or its logarithm
  float exp_avg;
  float exp_avg_sq;
  float step_count;
};

/// What of the multiplier's form the device must know.
struct MultiplierRule {
  bool hinge;        ///< a satisfied constraint pushes nothing
  bool logarithmic;  ///< the parameter is log lambda, moved by Adam
  double rate;
  double threshold;  ///< eta_c in scaled units
};

template <typename Real>
DROP_HOST_DEVICE inline double multiplier_value(const MultiplierRule& rule, Real parameter) {
  if (!rule.logarithmic) return static_cast<double>(parameter);
  // the logarithm of the cap, rounded, may lie above it
  const double value = exp(static_cast<double>(parameter));
  return value > kLargestMultiplier ? kLargestMultiplier : value;
}

/// dL/dC of the penalty.
template <typename Real>
DROP_HOST_DEVICE inline double gap_weight(const MultiplierRule& rule, Real parameter, double gap) {
  if (rule.hinge && !(gap > rule.threshold)) return 0.0;
  return multiplier_value(rule, parameter);
}

/// One dual step from the gap.
DROP_HOST_DEVICE inline void step_multiplier(const MultiplierRule& rule, double gap,
                                             MultiplierState& state) {
  const double violation = gap - rule.threshold;
  if (rule.logarithmic) {
    // ascent on exp(l) * (C - eta_c): Adam minimises, hence the sign
    const auto gradient = static_cast<float>(-multiplier_value(rule, state.parameter) * violation);
    state.step_count += 1.0f;
    const float moved = adam(state.parameter, gradient, state.exp_avg, state.exp_avg_sq,
                             adam_factors(rule.rate, static_cast<double>(state.step_count)));
    const auto largest = static_cast<float>(log(kLargestMultiplier));
    state.parameter = moved > largest ? largest : moved;
  } else {
    const double moved = static_cast<double>(state.parameter) + rule.rate * violation;
    const double clipped =
        moved < 0.0 ? 0.0 : (moved > kLargestMultiplier ? kLargestMultiplier : moved);
    state.parameter = static_cast<float>(clipped);
  }
}

// ---- losses

/// log_std within its limits.
DROP_HOST_DEVICE inline float clamped_log_std(float log_std) {
  const auto low = static_cast<float>(kMinLogStd);
  const auto high = static_cast<float>(kMaxLogStd);
  return log_std < low ? low : (log_std > high ? high : log_std);
}

/// dL/d(before tanh) of half the squared error times `weight`, at the bounded value `mean`.
DROP_HOST_DEVICE inline float behaviour_gradient(float mean, float action, float weight) {
  return weight * (mean - action) * (1.0f - mean * mean);
}

// of one coordinate of a posterior q(z|s,a): its mean, its log_std before the clamp, z = mean +
// exp(log_std) * noise

template <typename Real>
DROP_HOST_DEVICE inline Real clamped_posterior_log_std(Real log_std) {
  const auto low = static_cast<Real>(kMinPosteriorLogStd);
  const auto high = static_cast<Real>(kMaxPosteriorLogStd);
  return log_std < low ? low : (log_std > high ? high : log_std);
}

template <typename Real>
DROP_HOST_DEVICE inline Real posterior_sample(Real mean, Real log_std, Real noise) {
  return mean + std::exp(clamped_posterior_log_std(log_std)) * noise;
}

/// KL(q || N(0, 1)).
template <typename Real>
DROP_HOST_DEVICE inline Real posterior_kl(Real mean, Real log_std) {
  const Real clamped = clamped_posterior_log_std(log_std);
  return Real(0.5) * (mean * mean + std::exp(2 * clamped) - 1 - 2 * clamped);
}

template <typename Real>
struct PosteriorGradient {
  Real mean;
  Real log_std;  ///< none outside of the clamp's limits
};

/// @param z_gradient  dL/dz of all else
/// @param kl_weight   of this coordinate's KL in the loss
template <typename Real>
DROP_HOST_DEVICE inline PosteriorGradient<Real> posterior_gradient(Real mean, Real log_std,
                                                                   Real noise, Real z_gradient,
                                                                   Real kl_weight) {
  const Real clamped = clamped_posterior_log_std(log_std);
  const Real std = std::exp(clamped);
  return {z_gradient + kl_weight * mean,
          clamped == log_std ? z_gradient * noise * std + kl_weight * (std * std - 1) : Real(0)};
}

/// y = r + gamma (1 - terminal) f_bar.
DROP_HOST_DEVICE inline float td_target(float reward, float terminal, float next_score,
                                        float discount) {
  return reward + discount * (1.0f - terminal) * next_score;
}

// ---- ascent

/// One ascent step of one embedding [d]; a zero gradient leaves it where it is.
/// @param bound  half the box's width; negative = no box
DROP_HOST_DEVICE inline void ascend(float* z, const float* gradient, int64_t d, float step_size,
                                    bool normalise, float bound) {
  float scale = step_size;
  if (normalise) {
    float squares = 0.0f;
    for (int64_t j = 0; j < d; ++j) squares += gradient[j] * gradient[j];
    scale = squares > 0.0f ? step_size / sqrtf(squares) : 0.0f;
  }
  for (int64_t j = 0; j < d; ++j) {
    float moved = z[j] + scale * gradient[j];
    if (bound >= 0.0f) moved = moved < -bound ? -bound : (moved > bound ? bound : moved);
    z[j] = moved;
  }
}

}  // namespace drop::arithmetic
