#pragma once

#include <cstdint>
#include <string_view>

namespace drop {

/// A named stream of random numbers: a pure function of (seed, name, substream, position), computed
/// by the counter-based generator Philox4x32-10. Nothing is shared between streams, so that, for
/// example, one more evaluation never changes training, and the draws of any training step can be
/// repeated later or on another device. The whole state is `position()`.
///
/// Names in use: "init", "sampling", "z_u", "posterior", "starts", "decomposition", "env", "eval",
/// "generate", "exploration", "online", "self_check".
class RandomStream {
 public:
  /// @param substream  selects one of 2^64 independent sequences below the name, e.g. the
  ///                   training step or the index of an environment.
  RandomStream(uint64_t seed, std::string_view name, uint64_t substream = 0);

  /// Next 32 uniform bits.
  uint32_t next_u32();
  /// Next 64 uniform bits (two 32-bit draws, the first one low).
  uint64_t next_u64();
  /// Uniform in [0, 1) with 53 bits.
  double uniform();
  /// Uniform in [low, high).
  double uniform(double low, double high);
  /// Standard normal (Box-Muller; two uniforms a call, the second value is not kept).
  double normal();
  /// Uniform integer in [0, bound); bound must be positive.
  uint64_t below(uint64_t bound);

  /// Number of 32-bit draws so far.
  uint64_t position() const { return position_; }
  /// Key of the generator: whoever has it draws the same numbers elsewhere.
  uint64_t key() const { return key_; }
  /// Continues from a position that `position()` returned.
  void seek(uint64_t position);

 private:
  void refill();

  uint64_t key_;
  uint64_t substream_;
  uint64_t position_ = 0;
  uint64_t block_index_ = ~uint64_t{0};
  uint32_t block_[4] = {0, 0, 0, 0};
};

}  // namespace drop
