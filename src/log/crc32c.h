#pragma once

#include <cstdint>
#include <string_view>

namespace drop {

/// CRC-32C (Castagnoli) of a block of bytes: crc32c("123456789") = 0xE3069283.
uint32_t crc32c(std::string_view bytes);

}  // namespace drop
