#include "drop/base/random.h"

#include <ATen/core/PhiloxRNGEngine.h>

#include <cmath>
#include <numbers>

namespace drop {

namespace {

// FNV-1a over the name, then one splitmix64 round with the seed: distinct names and seeds give
// unrelated keys
uint64_t key_of(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  uint64_t x = hash ^ (seed * 0x9e3779b97f4a7c15ULL);
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

RandomStream::RandomStream(uint64_t seed, std::string_view name, uint64_t substream)
    : key_(key_of(seed, name)), substream_(substream) {}

void RandomStream::refill() {
  block_index_ = position_ / 4;
  at::Philox4_32 engine(key_, substream_, block_index_);
  for (uint32_t& word : block_) word = engine();
}

uint32_t RandomStream::next_u32() {
  if (position_ / 4 != block_index_) refill();
  return block_[position_++ % 4];
}

uint64_t RandomStream::next_u64() {
  const uint64_t low = next_u32();
  return low | (uint64_t{next_u32()} << 32);
}

double RandomStream::uniform() { return static_cast<double>(next_u64() >> 11) * 0x1.0p-53; }

double RandomStream::uniform(double low, double high) { return low + (high - low) * uniform(); }

double RandomStream::normal() {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

uint64_t RandomStream::below(uint64_t bound) {
  // multiply-shift: the bias of bound / 2^64 is far below anything that could be observed
  return static_cast<uint64_t>((static_cast<unsigned __int128>(next_u64()) * bound) >> 64);
}

void RandomStream::seek(uint64_t position) { position_ = position; }

}  // namespace drop
