#include "log/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <limits>

namespace drop {

uint32_t crc32c(std::string_view bytes) {
  // the library leaves the inversions at both ends to its caller, and takes the length as int
  uint32_t state = ~uint32_t{0};
  while (!bytes.empty()) {
    const size_t length =
        std::min(bytes.size(), static_cast<size_t>(std::numeric_limits<int>::max()));
    // it only reads from the buffer, though the declaration does not say so
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
    state = crc32_iscsi(data, static_cast<int>(length), state);
    bytes.remove_prefix(length);
  }
  return ~state;
}

}  // namespace drop
