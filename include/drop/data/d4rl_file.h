#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "drop/data/dataset_id.h"
#include "drop/data/trajectory_dataset.h"

namespace drop {

/// One array of a data file, as listed before anything is read.
struct ArrayInfo {
  std::string name;  ///< "observations", "infos/qpos"
  std::vector<int64_t> shape;
  std::string type;  ///< "float32", "float64", "bool", "uint8", "int32", "string", ...
};

/// What a D4RL file holds, found without reading its arrays.
struct D4rlFileInfo {
  std::string path;
  int64_t file_bytes = 0;
  std::vector<ArrayInfo> arrays;  ///< sorted by name, groups flattened
  int64_t rows = 0;
  int64_t state_dim = 0;
  int64_t action_dim = 0;
  int64_t memory_bytes = 0;  ///< estimate of what `read_d4rl_file` will allocate
};

/// Looks at a file. Throws DataError (file, key, found, allowed, cure) when it is no HDF5 file, a
/// required array (observations, actions, rewards, terminals) is missing or of a wrong rank or
/// length, or sizes are absurd.
D4rlFileInfo inspect_d4rl_file(const std::string& path);

struct ReadOptions {
  /// false keeps rows that are not finite (for `drop_data inspect`) instead of throwing.
  bool require_finite = true;
  int64_t threads = 0;  ///< that unpack chunks; 0 = all cores that this process may use
};

/// Reads a D4RL HDF5 file, its chunks side by side: float32 or float64 keys, bool/uint8/float
/// flags, optional timeouts, rewards and flags of shape [rows] or [rows, 1]. Splits it into
/// trajectories as the family asks. A row that is not finite, a size that does not fit, a flag that
/// is neither 0 nor 1 throws DataError with file, key and row. HDF5's own error stack is never
/// printed.
TrajectoryDataset read_d4rl_file(const DatasetSource& source, const ReadOptions& options = {});

/// A row of an array that holds NaN or infinity.
struct NonFiniteRow {
  std::string key;
  int64_t row = 0;
  double value = 0.0;  ///< the first such value of the row
};

struct NonFiniteRows {
  int64_t count = 0;                ///< rows, each counted once for every array it spoils
  std::vector<NonFiniteRow> first;  ///< by array (observations, actions, rewards), then row
};

/// Looks for NaN and infinity; keeps the first `keep` rows.
NonFiniteRows find_non_finite_rows(const TrajectoryDataset& dataset, size_t keep = 10);

/// What a float32 array of a file holds of a value.
double as_float32(double value);

/// Writes D4RL's layout: gzip, chunked; observations, actions, rewards float32; terminals,
/// timeouts bool (HDF5 enum as h5py writes it). Rows are packed as they come and kept in memory,
/// packed, until `close` writes the file in one step (temporary file + rename): nothing appears
/// under its name before. The same rows make the same bytes. Throws RunError, at once for a place
/// that cannot be written.
class D4rlWriter {
 public:
  /// Widths of extra float columns, e.g. {{"infos/qpos", 2}, {"infos/goal", 2}}; written as float32
  /// unless named in `float64_columns`.
  D4rlWriter(std::string path, int64_t state_dim, int64_t action_dim,
             std::map<std::string, int64_t> extra_columns = {},
             std::vector<std::string> float64_columns = {});
  ~D4rlWriter();
  D4rlWriter(const D4rlWriter&) = delete;
  D4rlWriter& operator=(const D4rlWriter&) = delete;

  /// Appends one row. `extra` holds the extra columns' values, in the map's (sorted) order.
  void append(std::span<const double> observation, std::span<const double> action, double reward,
              bool terminal, bool timeout, std::span<const double> extra = {});

  /// Attributes of the root group: how the data were made.
  void set_attribute(const std::string& name, const std::string& value);
  void set_attribute(const std::string& name, double value);
  void set_attribute(const std::string& name, int64_t value);

  /// Writes what is buffered and renames the file into place. Throws RunError.
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace drop
