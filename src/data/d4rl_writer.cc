#include <algorithm>

#include "data/hdf5_io.h"
#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/data/d4rl_file.h"

namespace drop {

namespace {

constexpr int64_t kBufferedRows = 4096;

// the type by which h5py stores a bool
Hdf5Handle make_bool_type() {
  Hdf5Handle type(H5Tenum_create(H5T_STD_I8LE), H5Tclose);
  const int8_t no = 0, yes = 1;
  H5Tenum_insert(type.get(), "FALSE", &no);
  H5Tenum_insert(type.get(), "TRUE", &yes);
  return type;
}

// one array of the file and the rows that are not written yet
template <typename Number>
struct Column {
  std::string name;
  int64_t width = 1;
  bool matrix = false;  ///< [rows, width] instead of [rows]
  Hdf5Handle array;
  std::vector<Number> buffer;
};

}  // namespace

struct D4rlWriter::Impl {
  std::string path;
  Hdf5Handle file;
  Hdf5Handle bool_type;
  std::vector<Column<double>> numbers;  ///< observations, actions, rewards, then the extra columns
  std::vector<Column<int8_t>> flags;    ///< terminals, timeouts
  int64_t written_rows = 0;
  int64_t buffered_rows = 0;

  [[noreturn]] void fail(const std::string& what) const { throw RunError(path + ": " + what); }

  void add_number(const std::string& name, int64_t width, bool matrix, hid_t type) {
    Column<double> column{name, width, matrix, {}, {}};
    column.array = create(name, width, matrix, type);
    numbers.push_back(std::move(column));
  }

  void add_flag(const std::string& name) {
    Column<int8_t> column{name, 1, false, {}, {}};
    column.array = create(name, 1, false, bool_type.get());
    flags.push_back(std::move(column));
  }

  Hdf5Handle create(const std::string& name, int64_t width, bool matrix, hid_t type) {
    if (width < 1) fail("array '" + name + "' has the width " + std::to_string(width));
    const std::vector<int64_t> shape =
        matrix ? std::vector<int64_t>{0, width} : std::vector<int64_t>{0};
    Hdf5Handle array = create_hdf5_array(file.get(), name, type, shape, kBufferedRows);
    if (!array.valid()) fail("array '" + name + "' cannot be made; is its name taken?");
    return array;
  }

  template <typename Number>
  void flush_column(Column<Number>& column, hid_t memory_type) {
    const auto old_rows = static_cast<hsize_t>(written_rows);
    const auto new_rows = static_cast<hsize_t>(buffered_rows);
    const int rank = column.matrix ? 2 : 1;
    const hsize_t size[2] = {old_rows + new_rows, static_cast<hsize_t>(column.width)};
    const hsize_t start[2] = {old_rows, 0};
    const hsize_t count[2] = {new_rows, static_cast<hsize_t>(column.width)};
    bool good = H5Dset_extent(column.array.get(), size) >= 0;
    if (good) {
      const Hdf5Handle file_space(H5Dget_space(column.array.get()), H5Sclose);
      const Hdf5Handle memory_space(H5Screate_simple(rank, count, nullptr), H5Sclose);
      good = H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start, nullptr, count,
                                 nullptr) >= 0 &&
             H5Dwrite(column.array.get(), memory_type, memory_space.get(), file_space.get(),
                      H5P_DEFAULT, column.buffer.data()) >= 0;
    }
    if (!good) fail("array '" + column.name + "' cannot be written; is there enough memory?");
    column.buffer.clear();
  }

  void flush() {
    if (buffered_rows == 0) return;
    silence_hdf5_errors();
    for (auto& column : numbers) flush_column(column, H5T_NATIVE_DOUBLE);
    for (auto& column : flags) flush_column(column, bool_type.get());
    written_rows += buffered_rows;
    buffered_rows = 0;
  }

  void require_open(const std::string& what) {
    if (!file.valid()) throw RunError(path + ": " + what + " after the file was closed");
  }
};

D4rlWriter::D4rlWriter(std::string path, int64_t state_dim, int64_t action_dim,
                       std::map<std::string, int64_t> extra_columns,
                       std::vector<std::string> float64_columns)
    : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  impl.path = std::move(path);
  require_writable(impl.path);
  impl.file = create_hdf5_in_memory(impl.path);
  if (!impl.file.valid()) impl.fail("HDF5 cannot make a file in memory");

  // the arrays
  impl.bool_type = make_bool_type();
  const auto type_of = [&](const std::string& name) {
    const bool wide =
        std::find(float64_columns.begin(), float64_columns.end(), name) != float64_columns.end();
    return wide ? H5T_IEEE_F64LE : H5T_IEEE_F32LE;
  };
  impl.add_number("observations", state_dim, true, type_of("observations"));
  impl.add_number("actions", action_dim, true, type_of("actions"));
  impl.add_number("rewards", 1, false, type_of("rewards"));
  for (const auto& [name, width] : extra_columns) impl.add_number(name, width, true, type_of(name));
  impl.add_flag("terminals");
  impl.add_flag("timeouts");
}

D4rlWriter::~D4rlWriter() = default;

void D4rlWriter::append(std::span<const double> observation, std::span<const double> action,
                        double reward, bool terminal, bool timeout, std::span<const double> extra) {
  Impl& impl = *impl_;
  impl.require_open("a row was appended");
  // sizes first, so that no column gets ahead of the others
  size_t extra_width = 0;
  for (size_t index = 3; index < impl.numbers.size(); ++index) {
    extra_width += static_cast<size_t>(impl.numbers[index].width);
  }
  if (observation.size() != static_cast<size_t>(impl.numbers[0].width) ||
      action.size() != static_cast<size_t>(impl.numbers[1].width) || extra.size() != extra_width) {
    impl.fail("row " + std::to_string(impl.written_rows + impl.buffered_rows) + " has the widths " +
              std::to_string(observation.size()) + ", " + std::to_string(action.size()) + ", " +
              std::to_string(extra.size()) + "; expected are " +
              std::to_string(impl.numbers[0].width) + ", " + std::to_string(impl.numbers[1].width) +
              ", " + std::to_string(extra_width));
  }
  const auto put = [](std::vector<double>& buffer, std::span<const double> values) {
    buffer.insert(buffer.end(), values.begin(), values.end());
  };
  put(impl.numbers[0].buffer, observation);
  put(impl.numbers[1].buffer, action);
  impl.numbers[2].buffer.push_back(reward);
  for (size_t index = 3; index < impl.numbers.size(); ++index) {
    const auto width = static_cast<size_t>(impl.numbers[index].width);
    put(impl.numbers[index].buffer, extra.first(width));
    extra = extra.subspan(width);
  }
  impl.flags[0].buffer.push_back(terminal ? 1 : 0);
  impl.flags[1].buffer.push_back(timeout ? 1 : 0);
  if (++impl.buffered_rows == kBufferedRows) impl.flush();
}

void D4rlWriter::set_attribute(const std::string& name, const std::string& value) {
  impl_->require_open("an attribute was set");
  if (!write_hdf5_attribute(impl_->file.get(), name, value)) {
    impl_->fail("attribute '" + name + "' cannot be written");
  }
}

void D4rlWriter::set_attribute(const std::string& name, double value) {
  impl_->require_open("an attribute was set");
  if (!write_hdf5_attribute(impl_->file.get(), name, H5T_NATIVE_DOUBLE, &value)) {
    impl_->fail("attribute '" + name + "' cannot be written");
  }
}

void D4rlWriter::set_attribute(const std::string& name, int64_t value) {
  impl_->require_open("an attribute was set");
  if (!write_hdf5_attribute(impl_->file.get(), name, H5T_NATIVE_INT64, &value)) {
    impl_->fail("attribute '" + name + "' cannot be written");
  }
}

void D4rlWriter::close() {
  Impl& impl = *impl_;
  if (!impl.file.valid()) return;
  impl.flush();
  impl.numbers.clear();
  impl.flags.clear();
  save_hdf5(impl.file, impl.path);
}

double as_float32(double value) {
  // volatile, because GCC 12 drops the two conversions of neighbouring values when it vectorises
  // them (-O2 and -O3)
  const volatile float stored = static_cast<float>(value);
  return static_cast<double>(stored);
}

}  // namespace drop
