// The checkpoint reader behind the hashes: they are put right before it sees the bytes, so that it
// has to hold against a file that somebody made on purpose.

#include <span>
#include <vector>

#include "drop/base/error.h"
#include "drop/nn/checkpoint.h"
#include "fuzz/fuzz_support.h"
#include "fuzz/safetensors_mutator.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  return drop::fuzz::mutate_safetensors(data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> bytes(data, data + size);
  drop::testing::repair_hashes(std::as_writable_bytes(std::span(bytes)));
  const drop::fuzz::MemoryFile file(bytes.data(), bytes.size());
  drop::fuzz::tally.accepted += drop::fuzz::expect_read_or_refused<drop::DataError>(
      file.path(), [&] { drop::load_checkpoint(file.path(), at::kCPU); });
  return 0;
}
