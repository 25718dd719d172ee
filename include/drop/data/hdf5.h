#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace drop {

/// A numeric array of an HDF5 file, converted to float64.
struct Hdf5Array {
  std::vector<int64_t> shape;
  std::vector<double> values;  ///< row-major
};

/// Reads one numeric data set of any integer or float type. Throws DataError (file, name, found,
/// allowed, cure) when the file or the data set is missing, not numeric, or damaged.
Hdf5Array read_hdf5_array(const std::string& path, const std::string& name);

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
