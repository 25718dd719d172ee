// The safetensors reader on bytes as they come: what stands before the hashes.

#include <span>

#include "drop/base/error.h"
#include "drop/nn/safetensors.h"
#include "fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  drop::fuzz::tally.accepted += drop::fuzz::expect_read_or_refused<drop::DataError>(
      "fuzz.safetensors", [&] { drop::parse_safetensors(bytes, "fuzz.safetensors"); });
  return 0;
}
