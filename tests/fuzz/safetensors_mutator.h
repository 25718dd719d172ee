#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "support/safetensors_repair.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace drop::fuzz {

inline constexpr size_t kLengthWord = 8;

// changes the header's text alone and gives it a length word that fits; 0 = there is no room
inline size_t mutate_header(uint8_t* data, size_t size, size_t max_size, size_t header) {
  const std::vector<uint8_t> payload(data + kLengthWord + header, data + size);
  if (max_size <= kLengthWord + payload.size()) return 0;
  std::vector<uint8_t> text(max_size - kLengthWord - payload.size());
  const size_t length = std::min(header, text.size());
  std::copy_n(data + kLengthWord, length, text.begin());
  const uint64_t changed = LLVMFuzzerMutate(text.data(), length, text.size());
  std::memcpy(data, &changed, kLengthWord);
  std::copy_n(text.begin(), changed, data + kLengthWord);
  std::copy(payload.begin(), payload.end(), data + kLengthWord + changed);
  return kLengthWord + changed + payload.size();
}

/// libFuzzer's custom mutator for safetensors files: most changes keep the file's form, as those of
/// header and data together are refused at once.
inline size_t mutate_safetensors(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  const size_t header = testing::header_length(std::as_bytes(std::span<const uint8_t>(data, size)));
  const size_t begin = kLengthWord + header;
  if (header > 0 && seed % 8 > 1) {
    const size_t changed = mutate_header(data, size, max_size, header);
    if (changed > 0) return changed;
  } else if (header > 0 && seed % 8 == 1 && begin < size) {
    return begin + LLVMFuzzerMutate(data + begin, size - begin, max_size - begin);
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

}  // namespace drop::fuzz
