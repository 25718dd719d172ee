#include "drop/data/d4rl_file.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <new>
#include <optional>

#include "data/crash_guard.h"
#include "data/hdf5_io.h"
#include "drop/base/error.h"
#include "drop/base/sha256.h"
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

std::string in_key(const std::string& path, const std::string& name) {
  return path + ": key '" + name + "' ";
}

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

void read_matrix(const Hdf5ArrayReader& array, const std::string& path, std::vector<float>& out) {
  const int64_t width = array.row_size();
  out.resize(static_cast<size_t>(array.rows() * width));
  for_each_row_block(array, [&](int64_t first, int64_t count) {
    read_hdf5_rows(array, path, first, count, H5T_NATIVE_FLOAT, out.data() + first * width);
  });
}

void read_rewards(const Hdf5ArrayReader& array, const std::string& path, std::vector<double>& out) {
  out.resize(static_cast<size_t>(array.rows()));
  for_each_row_block(array, [&](int64_t first, int64_t count) {
    read_hdf5_rows(array, path, first, count, H5T_NATIVE_DOUBLE, out.data() + first);
  });
}

std::string number_text(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%g", value);
  return text.data();
}

void read_flags(const Hdf5ArrayReader& array, const std::string& path, std::vector<uint8_t>& out) {
  out.resize(static_cast<size_t>(array.rows()));
  std::vector<double> block;
  for_each_row_block(array, [&](int64_t first, int64_t count) {
    block.resize(static_cast<size_t>(count));
    read_hdf5_rows(array, path, first, count, H5T_NATIVE_DOUBLE, block.data());
    for (int64_t row = 0; row < count; ++row) {
      const double value = block[static_cast<size_t>(row)];
      if (value != 0.0 && value != 1.0) {
        throw DataError(in_key(path, array.info.name) + "row " + std::to_string(first + row) +
                        " is " + number_text(value) +
                        "; allowed are 0 and 1; write the flags as bool");
      }
      out[static_cast<size_t>(first + row)] = value == 1.0;
    }
  });
}

template <typename Number>
void collect_non_finite(const char* key, const std::vector<Number>& values, int64_t width,
                        size_t keep, NonFiniteRows& found) {
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

// the file's arrays, block by block
TrajectoryDataset read_arrays(const std::string& path) {
  const D4rlColumns columns = open_columns(path);
  TrajectoryDataset dataset;
  dataset.path = path;
  dataset.rows = columns.info.rows;
  dataset.state_dim = columns.info.state_dim;
  dataset.action_dim = columns.info.action_dim;
  try {
    read_matrix(columns.observations, path, dataset.observations);
    read_matrix(columns.actions, path, dataset.actions);
    read_rewards(columns.rewards, path, dataset.rewards);
    read_flags(columns.terminals, path, dataset.terminals);
    dataset.has_timeouts = columns.timeouts.has_value();
    if (dataset.has_timeouts) {
      read_flags(*columns.timeouts, path, dataset.timeouts);
    } else {
      dataset.timeouts.assign(static_cast<size_t>(dataset.rows), 0);
    }
  } catch (const std::bad_alloc&) {
    throw DataError(
        path + ": " + human_bytes(static_cast<double>(columns.info.memory_bytes)) +
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
  rehearse_in_child(path, [&] { read_arrays(path); });
  TrajectoryDataset dataset = read_arrays(path);
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
  dataset.sha256 = sha256_of_file(path);
  return dataset;
}

}  // namespace drop
