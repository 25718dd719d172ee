#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "data/hdf5_io.h"

namespace drop {

/// A rehearsal (crash_guard.h) reads only what HDF5 itself has to read.
enum class Reading { kAll, kRehearsal };

/// Numbers as they are stored, little-endian; an enum (h5py's bool) is stored as its integers.
enum class StoredType {
  kFloat32,
  kFloat64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64
};

/// A chunk, or a part of an array that is stored in one go.
struct StoredPiece {
  int64_t row = 0;  ///< where its first value belongs
  int64_t column = 0;
  int64_t address = 0;  ///< in the file
  int64_t bytes = 0;
  uint32_t skipped_filters = 0;  ///< bit i: the pipeline's filter i was not applied
};

/// Where the values of an array lie in its file: all that is needed to read them without HDF5.
struct StoredArray {
  static constexpr int kNoFilter = 31;

  std::string name;
  StoredType type = StoredType::kFloat32;
  int64_t element_bytes = 0;
  int64_t rows = 0;
  int64_t width = 0;
  int64_t piece_rows = 0;  ///< pieces at the edges hold as much; what lies outside has no meaning
  int64_t piece_width = 0;
  int shuffle = kNoFilter;  ///< place in the pipeline; shuffle comes before gzip
  int gzip = kNoFilter;
  std::vector<StoredPiece> pieces;  ///< row after row, without gaps

  int64_t pieces_across() const { return (width + piece_width - 1) / piece_width; }
  int64_t piece_values() const { return piece_rows * piece_width; }
};

/// Finds it for an array of one or two axes, numbers, whole, chunked or in one go, with gzip and
/// shuffle; nothing for the rare rest, which HDF5 itself has to read.
std::optional<StoredArray> find_stored_array(const Hdf5Handle& file, const Hdf5ArrayReader& array);

/// An array and the memory that its values go to, row-major and converted; as uint8 they are flags,
/// which must be 0 or 1. Without memory they are unpacked and thrown away.
struct ArrayTarget {
  const Hdf5ArrayReader* array = nullptr;
  std::optional<StoredArray> stored;  ///< without it HDF5 reads, in the calling thread
  std::variant<std::monostate, float*, double*, uint8_t*> out;
};

/// Reads arrays with up to `threads` threads (0 = all cores). Throws DataError for the first piece
/// (by array, then row) that is damaged or holds a flag that is none.
void read_hdf5_arrays(const std::string& path, std::span<const ArrayTarget> targets,
                      int64_t threads);

}  // namespace drop
