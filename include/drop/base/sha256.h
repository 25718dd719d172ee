#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace drop {

/// Incremental SHA-256 (libcrypto).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  /// 64 lower-case hexadecimal digits; no update may follow.
  std::string finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// SHA-256 of a block of memory, as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);

/// SHA-256 of a file. Throws DataError when it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace drop
