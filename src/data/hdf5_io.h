#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/hdf5_handles.h"
#include "drop/data/d4rl_file.h"

namespace drop {

/// No more than this is read into memory from one file.
inline constexpr int64_t kMaxMemoryBytes = int64_t{64} << 30;

/// An array that passed the checks of `open_hdf5_array`, open for reading.
struct Hdf5ArrayReader {
  Hdf5Handle handle;
  ArrayInfo info;
  H5T_class_t type_class = H5T_NO_CLASS;
  int64_t element_bytes = 0;
  int64_t chunk_rows = 0;  ///< rows of a storage chunk, 0 when not chunked

  int64_t rows() const { return info.shape.empty() ? 1 : info.shape[0]; }
  /// Elements of one row.
  int64_t row_size() const;
};

/// Opens a file for reading. DataError when it is missing, no regular file, not HDF5 or damaged.
Hdf5Handle open_hdf5_file(const std::string& path);

/// All arrays of a file, sorted by name, groups flattened. External links are listed as such and
/// never followed.
std::vector<ArrayInfo> list_hdf5_arrays(const Hdf5Handle& file, const std::string& path);

/// "actions, observations, ... and 3 more", or "none"
std::string array_names_text(const std::vector<ArrayInfo>& arrays);

/// True when the root group has a link of this name, wherever it leads.
bool has_hdf5_link(const Hdf5Handle& file, const std::string& name);

/// Opens one array. DataError when it is missing, reached through an external link, stored in
/// another file, compressed with a filter other than gzip, shuffle or fletcher32, damaged, or
/// claims a size that the file cannot hold.
Hdf5ArrayReader open_hdf5_array(const Hdf5Handle& file, const std::string& path,
                                const std::string& name);

/// Reads rows [first, first + count) as `memory_type` into `out`.
void read_hdf5_rows(const Hdf5ArrayReader& array, const std::string& path, int64_t first,
                    int64_t count, hid_t memory_type, void* out);

/// Calls `visit(first, count)` for consecutive blocks of rows that match the array's chunks, so
/// that each chunk is unpacked once.
void for_each_row_block(const Hdf5ArrayReader& array,
                        const std::function<void(int64_t first, int64_t count)>& visit);

/// "FILE: key 'NAME' "
std::string in_key(const std::string& path, const std::string& name);

/// What is wrong with rows that cannot be read, and with a flag that is neither 0 nor 1.
std::string rows_error(const std::string& path, const std::string& name, int64_t first,
                       int64_t last);
std::string flag_error(const std::string& path, const std::string& name, int64_t row, double value);

/// "nan", "2", "0.5"
std::string number_text(double value);

/// "[1000, 11]"
std::string shape_text(const std::vector<int64_t>& shape);

/// A new HDF5 file that is built in memory (invalid handle on failure), and its bytes written to
/// `path` atomically. HDF5 1.10 crashes when a disk is full while it writes a file of its own; so
/// nothing but the last write can fail, with RunError, and the old file then still stands.
Hdf5Handle create_hdf5_in_memory(const std::string& path);
void save_hdf5(Hdf5Handle& file, const std::string& path);

/// Creates an array and the groups above it; invalid handle on failure. With `chunk_rows` > 0 it is
/// chunked, gzip level 4, and its first axis can grow.
Hdf5Handle create_hdf5_array(hid_t file, const std::string& name, hid_t type,
                             const std::vector<int64_t>& shape, int64_t chunk_rows = 0);

/// Writes an attribute of the root group; false on failure.
bool write_hdf5_attribute(hid_t file, const std::string& name, const std::string& value);
bool write_hdf5_attribute(hid_t file, const std::string& name, hid_t type, const void* value);

}  // namespace drop
