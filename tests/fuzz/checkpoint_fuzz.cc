// The checkpoint reader behind the hashes: they are put right before it sees the bytes, so that it
// has to hold against a file that somebody made on purpose.

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "drop/base/error.h"
#include "drop/nn/checkpoint.h"
#include "fuzz/fuzz_support.h"
#include "support/safetensors_repair.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

constexpr size_t kWord = 8;

// changes the header's text alone and gives it a length word that fits; 0 = there is no room
size_t mutate_header(uint8_t* data, size_t size, size_t max_size, size_t header) {
  const std::vector<uint8_t> payload(data + kWord + header, data + size);
  if (max_size <= kWord + payload.size()) return 0;
  std::vector<uint8_t> text(max_size - kWord - payload.size());
  const size_t length = std::min(header, text.size());
  std::copy_n(data + kWord, length, text.begin());
  const uint64_t changed = LLVMFuzzerMutate(text.data(), length, text.size());
  std::memcpy(data, &changed, kWord);
  std::copy_n(text.begin(), changed, data + kWord);
  std::copy(payload.begin(), payload.end(), data + kWord + changed);
  return kWord + changed + payload.size();
}

}  // namespace

// most changes keep the file's form: those of header and data together are refused at once
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  const size_t header =
      drop::testing::header_length(std::as_bytes(std::span<const uint8_t>(data, size)));
  const size_t begin = kWord + header;
  if (header > 0 && seed % 8 > 1) {
    const size_t changed = mutate_header(data, size, max_size, header);
    if (changed > 0) return changed;
  } else if (header > 0 && seed % 8 == 1 && begin < size) {
    return begin + LLVMFuzzerMutate(data + begin, size - begin, max_size - begin);
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> bytes(data, data + size);
  drop::testing::repair_hashes(std::as_writable_bytes(std::span(bytes)));
  const drop::fuzz::MemoryFile file(bytes.data(), bytes.size());
  drop::fuzz::expect_read_or_refused<drop::DataError>(
      file.path(), [&] { drop::load_checkpoint(file.path(), at::kCPU); });
  return 0;
}
