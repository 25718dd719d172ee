#include "drop/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace drop {
namespace {

using Words = std::array<uint32_t, 4>;

// Philox4x32-10 as published (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3")
Words philox(Words counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

// the stream's key: FNV-1a of the name, mixed with the seed. Another key would repeat no old run.
uint64_t key_of(uint64_t seed, std::string_view name) {
  uint64_t x = 14695981039346656037ULL;
  for (const char letter : name) {
    x ^= static_cast<unsigned char>(letter);
    x *= 1099511628211ULL;
  }
  x ^= seed * 0x9E3779B97F4A7C15ULL;
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

uint32_t low(uint64_t value) { return static_cast<uint32_t>(value); }
uint32_t high(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

// draw number `position` of a stream, by the test's own generator
uint32_t expected_draw(uint64_t seed, std::string_view name, uint64_t substream,
                       uint64_t position) {
  const uint64_t key = key_of(seed, name);
  const uint64_t block = position / 4;
  const Words words =
      philox({low(block), high(block), low(substream), high(substream)}, low(key), high(key));
  return words[position % 4];
}

std::vector<uint32_t> draws(RandomStream stream, size_t count) {
  std::vector<uint32_t> values(count);
  for (uint32_t& value : values) value = stream.next_u32();
  return values;
}

TEST(RandomStream, TheTestsOwnGeneratorGivesThePublishedVectors) {
  EXPECT_EQ(philox({0, 0, 0, 0}, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones, ones, ones}, ones, ones),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, IsPhiloxWithKeySubstreamAndPositionInTheirPlaces) {
  struct Case {
    uint64_t seed;
    std::string_view name;
    uint64_t substream;
    uint64_t position;
  };
  const Case cases[] = {{0, "init", 0, 0},
                        {0, "", 0, 0},
                        {7, "sampling", 12345, 3},
                        {~uint64_t{0}, "z_u", ~uint64_t{0}, 1},
                        {1, "env", uint64_t{1} << 40, 4},
                        // counters beyond 32 bits
                        {3, "eval", 2, (uint64_t{1} << 34) + 5},
                        {3, "eval", 2, (uint64_t{1} << 50) + 2}};
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.name) + " at " + std::to_string(c.position));
    RandomStream stream(c.seed, c.name, c.substream);
    stream.seek(c.position);
    for (uint64_t i = 0; i < 9; ++i) {
      ASSERT_EQ(stream.next_u32(), expected_draw(c.seed, c.name, c.substream, c.position + i)) << i;
    }
  }
}

TEST(RandomStream, IsAPureFunctionOfSeedNameSubstreamAndPosition) {
  const auto reference = draws(RandomStream(5, "sampling", 9), 64);
  EXPECT_EQ(draws(RandomStream(5, "sampling", 9), 64), reference);
  EXPECT_NE(draws(RandomStream(6, "sampling", 9), 64), reference);
  EXPECT_NE(draws(RandomStream(5, "sampling ", 9), 64), reference);
  EXPECT_NE(draws(RandomStream(5, "sampling", 10), 64), reference);
}

TEST(RandomStream, NeighbouringStreamsShareNoDraws) {
  std::set<uint32_t> seen;
  size_t count = 0;
  for (const char* name : {"init", "sampling", "z_u", "decomposition", "env", "eval", "generate"}) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      for (uint64_t substream = 0; substream < 4; ++substream) {
        for (const uint32_t value : draws(RandomStream(seed, name, substream), 8)) {
          seen.insert(value);
          ++count;
        }
      }
    }
  }
  // 1792 draws of 32 bits: a chance repetition has probability 4e-4, a shared stream costs eight
  EXPECT_GT(seen.size() + 4, count);
}

TEST(RandomStream, SeekRepeatsAndSkips) {
  const auto reference = draws(RandomStream(1, "env"), 40);
  RandomStream stream(1, "env");
  for (const size_t position : {17u, 3u, 0u, 39u, 4u, 4u, 7u}) {
    stream.seek(position);
    EXPECT_EQ(stream.position(), position);
    EXPECT_EQ(stream.next_u32(), reference[position]);
    EXPECT_EQ(stream.position(), position + 1);
  }
}

TEST(RandomStream, APositionContinuesWhateverWasDrawnBefore) {
  RandomStream stream(2, "eval", 3);
  stream.next_u32();
  stream.next_u64();
  stream.uniform();
  stream.normal();
  stream.below(10);
  const uint64_t position = stream.position();
  EXPECT_EQ(position, 1u + 2 + 2 + 4 + 2);
  RandomStream continued(2, "eval", 3);
  continued.seek(position);
  EXPECT_EQ(draws(continued, 20), draws(stream, 20));
}

TEST(RandomStream, ACopyIsIndependent) {
  RandomStream stream(2, "eval");
  stream.next_u32();
  RandomStream copy = stream;
  const uint32_t next = copy.next_u32();
  copy.normal();
  EXPECT_EQ(stream.next_u32(), next);
}

TEST(RandomStream, SixtyFourBitsAreTwoDrawsTheFirstOneLow) {
  const auto words = draws(RandomStream(4, "init"), 4);
  RandomStream stream(4, "init");
  EXPECT_EQ(stream.next_u64(), words[0] | (uint64_t{words[1]} << 32));
  EXPECT_EQ(stream.next_u64(), words[2] | (uint64_t{words[3]} << 32));
}

TEST(RandomStream, UniformIsFlatOverItsRange) {
  constexpr int kDraws = 200000;
  constexpr int kBins = 20;
  RandomStream stream(0, "test");
  std::array<int, kBins> bins{};
  double sum = 0.0;
  double squares = 0.0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = stream.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    squares += value * value;
    ++bins[static_cast<size_t>(value * kBins)];
  }
  // five standard errors
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kDraws));
  for (const int count : bins) EXPECT_NEAR(count, kDraws / kBins, 5 * std::sqrt(kDraws / kBins));
}

TEST(RandomStream, UniformUsesAllFiftyThreeBits) {
  // 53 bits: every bit of value * 2^53 must change
  RandomStream stream(0, "bits");
  uint64_t ever_set = 0;
  uint64_t always_set = ~uint64_t{0};
  for (int i = 0; i < 1000; ++i) {
    const double scaled = stream.uniform() * 0x1.0p53;
    ASSERT_EQ(scaled, std::floor(scaled));
    ever_set |= static_cast<uint64_t>(scaled);
    always_set &= static_cast<uint64_t>(scaled);
  }
  EXPECT_EQ(ever_set, (uint64_t{1} << 53) - 1);
  EXPECT_EQ(always_set, 0u);
}

TEST(RandomStream, UniformOfARangeIsScaled) {
  RandomStream plain(0, "range");
  RandomStream scaled(0, "range");
  for (int i = 0; i < 1000; ++i) {
    const double value = scaled.uniform(-3.0, 5.0);
    ASSERT_GE(value, -3.0);
    ASSERT_LT(value, 5.0);
    ASSERT_DOUBLE_EQ(value, -3.0 + 8.0 * plain.uniform());
  }
  EXPECT_EQ(scaled.uniform(2.0, 2.0), 2.0);
}

TEST(RandomStream, NormalHasTheMomentsAndTailsOfAStandardNormal) {
  constexpr int kDraws = 200000;
  RandomStream stream(0, "normal");
  std::array<double, 4> moments{};
  int beyond_two = 0;
  double last = 0.0;
  double lag = 0.0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = stream.normal();
    ASSERT_TRUE(std::isfinite(value));
    double power = 1.0;
    for (double& moment : moments) moment += (power *= value) / kDraws;
    beyond_two += std::abs(value) > 2.0;
    lag += value * last / kDraws;
    last = value;
  }
  const double error = 5 / std::sqrt(kDraws);
  EXPECT_NEAR(moments[0], 0.0, error);
  EXPECT_NEAR(moments[1], 1.0, error * std::sqrt(2.0));
  EXPECT_NEAR(moments[2], 0.0, error * std::sqrt(15.0));
  EXPECT_NEAR(moments[3], 3.0, error * std::sqrt(96.0));
  EXPECT_NEAR(lag, 0.0, error);
  EXPECT_NEAR(beyond_two / double{kDraws}, 0.0455, 5 * std::sqrt(0.0455 * 0.9545 / kDraws));
}

TEST(RandomStream, BelowStaysBelowAndReachesEverything) {
  RandomStream stream(0, "below");
  constexpr int kDraws = 70000;
  std::array<int, 7> counts{};
  for (int i = 0; i < kDraws; ++i) ++counts.at(stream.below(7));
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 7, 5 * std::sqrt(kDraws / 7));

  for (int i = 0; i < 100; ++i) ASSERT_EQ(stream.below(1), 0u);
  // bounds beyond 32 bits, whose results need all 64
  const uint64_t huge = (uint64_t{1} << 63) + 12345;
  uint64_t largest = 0;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = stream.below(huge);
    ASSERT_LT(value, huge);
    largest = std::max(largest, value);
  }
  EXPECT_GT(largest, huge / 100 * 98);
}

}  // namespace
}  // namespace drop
