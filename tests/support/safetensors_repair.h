#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "drop/base/sha256.h"

namespace drop::testing {

/// Bytes of a safetensors file's header, as its length word claims them; 0 where the file is too
/// short for them.
inline size_t header_length(std::span<const std::byte> bytes) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length) return 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  return length <= bytes.size() - sizeof length ? static_cast<size_t>(length) : 0;
}

/// Puts a safetensors file's payload_sha256 and header_sha256 right, where its header has them:
/// what is refused then is refused for what is behind the hashes.
inline void repair_hashes(std::span<std::byte> bytes) {
  const size_t length = header_length(bytes);
  if (length == 0) return;
  constexpr size_t kDigits = 64;
  const std::span<std::byte> head = bytes.first(8 + length);
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  const auto digits_of = [&](const std::string& key) -> std::span<std::byte> {
    const std::string start = "\"" + key + "\":\"";
    const size_t found = text.find(start);
    if (found == std::string_view::npos || found + start.size() + kDigits >= text.size()) return {};
    return head.subspan(found + start.size(), kDigits);
  };
  const auto write = [](std::span<std::byte> digits, const std::string& hash) {
    if (!digits.empty()) std::memcpy(digits.data(), hash.data(), digits.size());
  };
  write(digits_of("payload_sha256"), sha256_hex(bytes.subspan(8 + length)));
  const std::span<std::byte> own = digits_of("header_sha256");
  write(own, std::string(kDigits, '0'));
  write(own, sha256_hex(head));
}

}  // namespace drop::testing
