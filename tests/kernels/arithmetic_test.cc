#include "kernels/arithmetic.h"

#include <gtest/gtest.h>

#include "drop/base/random.h"

namespace drop {
namespace {

TEST(Arithmetic, RandomBlocksAreThoseOfAStream) {
  for (const uint64_t substream : {uint64_t{0}, uint64_t{7}, uint64_t{1} << 40}) {
    RandomStream stream(11, "sampling", substream);
    for (const uint64_t block : {uint64_t{0}, uint64_t{1}, (uint64_t{1} << 32) + 5}) {
      stream.seek(4 * block);
      const arithmetic::RandomBlock drawn =
          arithmetic::random_block(stream.key(), substream, block);
      for (const uint32_t word : drawn.words) EXPECT_EQ(word, stream.next_u32());
    }
  }
}

TEST(Arithmetic, IntegersBelowABoundAreThoseOfAStream) {
  RandomStream bits(3, "test");
  RandomStream numbers(3, "test");
  for (const uint64_t bound : {uint64_t{1}, uint64_t{100}, ~uint64_t{0}})
    EXPECT_EQ(arithmetic::below(bits.next_u64(), bound), numbers.below(bound));
}

TEST(Arithmetic, SymmetricUniformReachesItsLowerEndOnly) {
  EXPECT_EQ(arithmetic::symmetric_uniform(0), -1.0f);
  EXPECT_EQ(arithmetic::symmetric_uniform(~0U), 1.0f - 0x1.0p-23f);
}

TEST(Arithmetic, AscentStaysInItsBoxAndWhereThereIsNoGradient) {
  float z[] = {0.9f, -0.9f};
  const float up[] = {3.0f, -4.0f};
  arithmetic::ascend(z, up, 2, 0.05f, /*normalise=*/true, 1.0f);
  EXPECT_FLOAT_EQ(z[0], 0.93f);
  EXPECT_FLOAT_EQ(z[1], -0.94f);
  arithmetic::ascend(z, up, 2, 1.0f, /*normalise=*/false, 1.0f);
  EXPECT_EQ(z[0], 1.0f);
  EXPECT_EQ(z[1], -1.0f);
  const float none[] = {0.0f, 0.0f};
  arithmetic::ascend(z, none, 2, 1.0f, /*normalise=*/true, 1.0f);
  EXPECT_EQ(z[0], 1.0f);
}

}  // namespace
}  // namespace drop
