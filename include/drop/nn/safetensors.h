#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace drop {

/// Content of a safetensors file: named tensors in file order and string metadata.
struct SafetensorsFile {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  std::map<std::string, std::string> metadata;

  /// Throws DataError naming `source` and the tensor when it is absent or of another shape/type.
  const at::Tensor& tensor(const std::string& name, at::IntArrayRef shape, at::ScalarType type,
                           const std::string& source) const;
  bool contains(const std::string& name) const;
};

/// The bytes of a file: little-endian uint64 header length, JSON header, raw row-major data.
/// Adds to the metadata `payload_sha256` (of the data part) and `header_sha256` (of length word and
/// header, padding included, with this value's 64 digits set to 0).
std::vector<std::byte> serialise_safetensors(const SafetensorsFile& file);

/// Reads and verifies such bytes: sizes, header, both hashes, types, shapes, offsets that cover the
/// data exactly. Throws DataError naming `source`, what was found and the cure. Tensors are copies.
SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, const std::string& source);

/// The SHA-256 that a file's metadata give of its tensors, after all checks of `parse_safetensors`.
std::string payload_sha256(std::span<const std::byte> bytes, const std::string& source);

/// Throws DataError (`source`, tensor, element) if a float tensor holds NaN or infinity.
void require_finite(const SafetensorsFile& file, const std::string& source);

/// The same of what is about to be written: throws RunError, for training has diverged.
void require_finite_result(const SafetensorsFile& file, const std::string& target);

}  // namespace drop
