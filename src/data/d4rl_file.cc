#include "drop/data/d4rl_file.h"

#include <sys/mman.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <future>
#include <new>
#include <optional>
#include <utility>

#include "data/crash_guard.h"
#include "data/hdf5_io.h"
#include "data/stored_array.h"
#include "drop/base/error.h"
#include "drop/base/sha256.h"
#include "drop/base/system_report.h"
#include "drop/base/text.h"

namespace drop {

namespace {

constexpr int64_t kMaxWidth = int64_t{1} << 20;

// the arrays of a D4RL file, checked but not read
struct D4rlColumns {
  Hdf5Handle file;
  D4rlFileInfo info;
  Hdf5ArrayReader observations, actions, rewards, terminals;
  std::optional<Hdf5ArrayReader> timeouts;
};

Hdf5ArrayReader open_required(const D4rlColumns& columns, const std::string& name) {
  const std::string& path = columns.info.path;
  if (!has_hdf5_link(columns.file, name)) {
    throw DataError(in_key(path, name) + "is missing; the arrays found are " +
                    array_names_text(columns.info.arrays) +
                    "; required are observations, actions, rewards and terminals; rename or add "
                    "the array");
  }
  return open_hdf5_array(columns.file, path, name);
}

// [rows, width] of float32 or float64
void check_matrix(const Hdf5ArrayReader& array, const std::string& path) {
  const auto& [name, shape, type] = array.info;
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1 || shape[1] > kMaxWidth) {
    throw DataError(in_key(path, name) + "has the shape " + shape_text(shape) +
                    "; allowed is [rows, width] with at least one row and 1 to " +
                    std::to_string(kMaxWidth) + " columns; write one row for each step");
  }
  if (type != "float32" && type != "float64") {
    throw DataError(in_key(path, name) + "has the type " + type +
                    "; allowed are float32 and float64; write the array as float32");
  }
}

// [rows] or [rows, 1]
void check_column_shape(const Hdf5ArrayReader& array, const std::string& path) {
  const auto& [name, shape, type] = array.info;
  if (shape.empty() || shape.size() > 2 || (shape.size() == 2 && shape[1] != 1)) {
    throw DataError(in_key(path, name) + "has the shape " + shape_text(shape) +
                    "; allowed are [rows] and [rows, 1]; write one value for each step");
  }
}

void check_rewards(const Hdf5ArrayReader& array, const std::string& path) {
  check_column_shape(array, path);
  if (array.info.type != "float32" && array.info.type != "float64") {
    throw DataError(in_key(path, array.info.name) + "has the type " + array.info.type +
                    "; allowed are float32 and float64; write the array as float32");
  }
}

void check_flags(const Hdf5ArrayReader& array, const std::string& path) {
  check_column_shape(array, path);
  if (array.type_class != H5T_ENUM && array.type_class != H5T_INTEGER &&
      array.type_class != H5T_FLOAT) {
    throw DataError(in_key(path, array.info.name) + "has the type " + array.info.type +
                    "; allowed are bool, integers and floats; write the flags as bool");
  }
}

void check_same_length(const Hdf5ArrayReader& reference, const Hdf5ArrayReader& array,
                       const std::string& path) {
  if (array.rows() == reference.rows()) return;
  throw DataError(path + ": key '" + reference.info.name + "' has " +
                  std::to_string(reference.rows()) + " rows, but key '" + array.info.name +
                  "' has " + std::to_string(array.rows()) +
                  "; both need one row for each step; cut or mend the longer one");
}

D4rlColumns open_columns(const std::string& path) {
  D4rlColumns columns;
  columns.file = open_hdf5_file(path);
  D4rlFileInfo& info = columns.info;
  info.path = path;
  std::error_code ignored;
  info.file_bytes = static_cast<int64_t>(std::filesystem::file_size(path, ignored));
  info.arrays = list_hdf5_arrays(columns.file, path);

  // each array by itself
  columns.observations = open_required(columns, "observations");
  columns.actions = open_required(columns, "actions");
  columns.rewards = open_required(columns, "rewards");
  columns.terminals = open_required(columns, "terminals");
  if (has_hdf5_link(columns.file, "timeouts")) {
    columns.timeouts = open_hdf5_array(columns.file, path, "timeouts");
  }
  check_matrix(columns.observations, path);
  check_matrix(columns.actions, path);
  check_rewards(columns.rewards, path);
  check_flags(columns.terminals, path);
  if (columns.timeouts) check_flags(*columns.timeouts, path);

  // one row for each step in all of them
  check_same_length(columns.observations, columns.actions, path);
  check_same_length(columns.observations, columns.rewards, path);
  check_same_length(columns.observations, columns.terminals, path);
  if (columns.timeouts) check_same_length(columns.observations, *columns.timeouts, path);

  info.rows = columns.observations.rows();
  info.state_dim = columns.observations.row_size();
  info.action_dim = columns.actions.row_size();
  const int64_t row_bytes =
      static_cast<int64_t>(sizeof(float)) * (info.state_dim + info.action_dim) +
      static_cast<int64_t>(sizeof(double)) + 2;
  if (info.rows > kMaxMemoryBytes / row_bytes) {
    throw DataError(path + ": " + std::to_string(info.rows) + " rows of " +
                    std::to_string(row_bytes) + " bytes; allowed are " +
                    std::to_string(kMaxMemoryBytes >> 30) + " GiB a file; cut the data set");
  }
  info.memory_bytes = info.rows * row_bytes;
  return columns;
}

// looks at the exponents only, eight values at a time
template <typename Bits, Bits kExponent>
bool all_finite(const auto& values) {
  Bits found = 0;
  for (const auto value : values) {
    found |= (std::bit_cast<Bits>(value) & kExponent) == kExponent ? 1 : 0;
  }
  return found == 0;
}

bool all_finite(const std::vector<float>& values) {
  return all_finite<uint32_t, 0x7f800000U>(values);
}
bool all_finite(const std::vector<double>& values) {
  return all_finite<uint64_t, 0x7ff0000000000000U>(values);
}

template <typename Number>
void collect_non_finite(const char* key, const std::vector<Number>& values, int64_t width,
                        size_t keep, NonFiniteRows& found) {
  if (all_finite(values)) return;
  const int64_t rows = static_cast<int64_t>(values.size()) / width;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      const auto value = static_cast<double>(values[static_cast<size_t>(row * width + column)]);
      if (std::isfinite(value)) continue;
      ++found.count;
      if (found.first.size() < keep) found.first.push_back({key, row, value});
      break;
    }
  }
}

// sets a vector's size. In large pages, where the system has them, memory is had three times as
// fast and later read with fewer look-ups of addresses
template <typename Number>
void allocate(std::vector<Number>& values, int64_t count) {
  values.reserve(static_cast<size_t>(count));
  constexpr uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(values.data());
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
  const uintptr_t last = (begin + values.capacity() * sizeof(Number)) / kPage * kPage;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  values.resize(static_cast<size_t>(count));
}

// the file's arrays; a rehearsal reads those only that HDF5 itself has to read
TrajectoryDataset read_columns(const D4rlColumns& columns, Reading reading, int64_t threads) {
  TrajectoryDataset dataset;
  dataset.path = columns.info.path;
  dataset.rows = columns.info.rows;
  dataset.state_dim = columns.info.state_dim;
  dataset.action_dim = columns.info.action_dim;
  dataset.has_timeouts = columns.timeouts.has_value();
  std::vector<ArrayTarget> targets;
  const auto add = [&](const Hdf5ArrayReader& array, auto& values) {
    std::optional<StoredArray> stored = find_stored_array(columns.file, array);
    if (reading == Reading::kRehearsal && stored) return;
    allocate(values, array.rows() * array.row_size());
    targets.push_back({&array, std::move(stored), values.data()});
  };
  try {
    add(columns.observations, dataset.observations);
    add(columns.actions, dataset.actions);
    add(columns.rewards, dataset.rewards);
    add(columns.terminals, dataset.terminals);
    if (dataset.has_timeouts) {
      add(*columns.timeouts, dataset.timeouts);
    } else {
      dataset.timeouts.assign(static_cast<size_t>(dataset.rows), 0);
    }
    read_hdf5_arrays(dataset.path, targets, threads);
  } catch (const std::bad_alloc&) {
    throw DataError(
        dataset.path + ": " + human_bytes(static_cast<double>(columns.info.memory_bytes)) +
        " of memory are needed and not there; cut the data set or use a larger machine");
  }
  return dataset;
}

}  // namespace

D4rlFileInfo inspect_d4rl_file(const std::string& path) {
  rehearse_in_child(path, [&] { open_columns(path); });
  return open_columns(path).info;
}

NonFiniteRows find_non_finite_rows(const TrajectoryDataset& dataset, size_t keep) {
  NonFiniteRows found;
  collect_non_finite("observations", dataset.observations, dataset.state_dim, keep, found);
  collect_non_finite("actions", dataset.actions, dataset.action_dim, keep, found);
  collect_non_finite("rewards", dataset.rewards, 1, keep, found);
  return found;
}

TrajectoryDataset read_d4rl_file(const DatasetSource& source, const ReadOptions& options) {
  const std::string& path = source.path;
  const int64_t threads = options.threads > 0 ? options.threads : available_cores();
  rehearse_in_child(path, [&] { read_columns(open_columns(path), Reading::kRehearsal, 1); });
  const D4rlColumns columns = open_columns(path);
  // the hash goes through the same bytes, and takes a good part of the time. Not before the child
  // is gone: it starts from this thread alone
  std::future<std::string> sha256 =
      std::async(threads > 1 ? std::launch::async : std::launch::deferred,
                 [&] { return sha256_of_file(path); });
  TrajectoryDataset dataset = read_columns(columns, Reading::kAll, threads);
  dataset.id = source.id;
  dataset.family = source.family;

  if (options.require_finite) {
    const NonFiniteRows bad = find_non_finite_rows(dataset, 1);
    if (bad.count > 0) {
      const auto& [key, row, value] = bad.first.front();
      throw DataError(in_key(path, key) + "row " + std::to_string(row) + " holds " +
                      number_text(value) + " (" + std::to_string(bad.count) +
                      " such rows in all); allowed are finite numbers; `drop_data inspect` lists "
                      "the rows to mend");
    }
  }
  dataset.trajectories =
      split_trajectories(split_rule(dataset.family, dataset.id), dataset.rewards, dataset.terminals,
                         dataset.timeouts, dataset.observations, dataset.state_dim);
  dataset.sha256 = sha256.get();
  return dataset;
}

}  // namespace drop
