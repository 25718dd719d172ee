#include "drop/base/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <vector>

#include "drop/base/error.h"

namespace drop {

struct Sha256::Context {
  EVP_MD_CTX* handle = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(handle); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (context_->handle == nullptr ||
      EVP_DigestInit_ex(context_->handle, EVP_sha256(), nullptr) != 1) {
    throw RunError("SHA-256: libcrypto could not start a digest");
  }
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(context_->handle, bytes.data(), bytes.size()) != 1) {
    throw RunError("SHA-256: libcrypto could not hash a block");
  }
}

std::string Sha256::finish() {
  std::array<unsigned char, 32> digest{};
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(context_->handle, digest.data(), &length) != 1 ||
      length != digest.size()) {
    throw RunError("SHA-256: libcrypto could not finish a digest");
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 digest;
  digest.update(bytes);
  return digest.finish();
}

std::string sha256_of_file(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    throw DataError(path + ": is not a file");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw DataError(path + ": cannot be opened for reading");
  Sha256 digest;
  std::vector<char> buffer(1 << 20);
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    digest.update(std::as_bytes(std::span(buffer.data(), static_cast<size_t>(file.gcount()))));
  }
  if (file.bad()) throw DataError(path + ": reading failed");
  return digest.finish();
}

}  // namespace drop
