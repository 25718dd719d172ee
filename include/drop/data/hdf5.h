#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace drop {

/// A numeric array of an HDF5 file, converted to float64.
struct Hdf5Array {
  std::vector<int64_t> shape;
  std::vector<double> values;  ///< row-major
  std::string type;            ///< in the file: "float32", "float64", "bool", "int64", ...
};

/// Reads one data set of any integer or float type, or of bool (h5py's enum) as 0 and 1. Throws
/// DataError (file, name, found, allowed, cure) when the file or the data set is missing, not
/// numeric, or damaged.
Hdf5Array read_hdf5_array(const std::string& path, const std::string& name);

/// Names of all data sets, sorted, groups flattened ("infos/qpos"). Throws DataError for a file
/// that is missing, not HDF5 or damaged.
std::vector<std::string> hdf5_array_names(const std::string& path);

/// A text attribute of the root group; empty when there is none of this name or it is no text.
/// Throws DataError as above.
std::optional<std::string> read_hdf5_text_attribute(const std::string& path,
                                                    const std::string& name);

/// Writes small result files: groups are made on demand ("best/embedding"), the file appears under
/// its name only when `close` succeeds (temporary file + rename). Throws RunError.
class Hdf5ResultWriter {
 public:
  explicit Hdf5ResultWriter(std::string path);
  ~Hdf5ResultWriter();
  Hdf5ResultWriter(const Hdf5ResultWriter&) = delete;
  Hdf5ResultWriter& operator=(const Hdf5ResultWriter&) = delete;

  void add(const std::string& name, const std::vector<int64_t>& shape,
           std::span<const float> values);
  void add(const std::string& name, const std::vector<int64_t>& shape,
           std::span<const double> values);
  void add(const std::string& name, const std::vector<int64_t>& shape,
           std::span<const int64_t> values);
  void set_attribute(const std::string& name, const std::string& value);
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace drop
