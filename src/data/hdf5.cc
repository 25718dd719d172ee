#include "drop/data/hdf5.h"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "data/crash_guard.h"
#include "data/hdf5_io.h"
#include "data/stored_array.h"
#include "drop/base/error.h"
#include "drop/base/system_report.h"

namespace drop {

namespace {

// a rehearsal reads only what HDF5 itself has to read
Hdf5Array read_array(const std::string& path, const std::string& name, Reading reading) {
  const Hdf5Handle file = open_hdf5_file(path);
  const Hdf5ArrayReader reader = open_hdf5_array(file, path, name);
  if (reader.type_class != H5T_FLOAT && reader.type_class != H5T_INTEGER &&
      reader.info.type != "bool") {
    throw DataError(path + ": key '" + name + "' has the type " + reader.info.type +
                    "; allowed are integers, floats and bool; write the array as numbers");
  }
  // float64 may need more room than the file's own type
  const int64_t row_size = reader.row_size();
  if (reader.rows() > 0 && row_size > kMaxMemoryBytes / 8 / reader.rows()) {
    throw DataError(path + ": key '" + name + "' claims the shape " +
                    shape_text(reader.info.shape) + ", which is too large as float64; cut it");
  }
  std::optional<StoredArray> stored = find_stored_array(file, reader);
  Hdf5Array array;
  if (reading == Reading::kRehearsal && stored) return array;
  array.shape = reader.info.shape;
  array.type = reader.info.type;
  try {
    array.values.resize(static_cast<size_t>(reader.rows() * row_size));
  } catch (const std::bad_alloc&) {
    throw DataError(path + ": key '" + name + "' has the shape " + shape_text(reader.info.shape) +
                    ", for which there is not enough memory; cut the array");
  }
  if (array.values.empty()) return array;
  read_hdf5_arrays(path, std::array{ArrayTarget{&reader, std::move(stored), array.values.data()}},
                   available_cores());
  return array;
}

std::vector<std::string> array_names(const std::string& path) {
  const Hdf5Handle file = open_hdf5_file(path);
  std::vector<std::string> names;
  for (const ArrayInfo& info : list_hdf5_arrays(file, path)) names.push_back(info.name);
  return names;
}

std::optional<std::string> read_text_attribute(const std::string& path, const std::string& name) {
  const Hdf5Handle file = open_hdf5_file(path);
  if (H5Aexists(file.get(), name.c_str()) <= 0) return std::nullopt;
  const Hdf5Handle attribute(H5Aopen(file.get(), name.c_str(), H5P_DEFAULT), H5Aclose);
  const Hdf5Handle space(H5Aget_space(attribute.get()), H5Sclose);
  const Hdf5Handle type(H5Aget_type(attribute.get()), H5Tclose);
  if (H5Tget_class(type.get()) != H5T_STRING || H5Sget_simple_extent_npoints(space.get()) != 1) {
    return std::nullopt;
  }

  // h5py writes texts of variable length, other programs also of a fixed one
  if (H5Tis_variable_str(type.get()) > 0) {
    char* text = nullptr;
    if (H5Aread(attribute.get(), type.get(), &text) < 0 || text == nullptr) return std::nullopt;
    const std::unique_ptr<char, herr_t (*)(void*)> owner(text, H5free_memory);
    return std::string(text);
  }
  constexpr size_t kMaxText = size_t{1} << 20;  // the file says how long it is, not how much it has
  const size_t length = H5Tget_size(type.get());
  if (length > kMaxText) return std::nullopt;
  std::string text(length, '\0');
  if (H5Aread(attribute.get(), type.get(), text.data()) < 0) return std::nullopt;
  text.resize(std::min(text.size(), text.find('\0')));
  return text;
}

}  // namespace

Hdf5Array read_hdf5_array(const std::string& path, const std::string& name) {
  rehearse_in_child(path, [&] { read_array(path, name, Reading::kRehearsal); });
  return read_array(path, name, Reading::kAll);
}

std::vector<std::string> hdf5_array_names(const std::string& path) {
  rehearse_in_child(path, [&] { array_names(path); });
  return array_names(path);
}

std::optional<std::string> read_hdf5_text_attribute(const std::string& path,
                                                    const std::string& name) {
  rehearse_in_child(path, [&] { read_text_attribute(path, name); });
  return read_text_attribute(path, name);
}

struct Hdf5ResultWriter::Impl {
  std::string path;
  Hdf5Handle file;

  [[noreturn]] void fail(const std::string& what) const { throw RunError(path + ": " + what); }

  void add(const std::string& name, hid_t file_type, hid_t memory_type,
           const std::vector<int64_t>& shape, size_t count, const void* values) {
    if (!file.valid()) fail("array '" + name + "' was added after close");
    size_t expected = 1;
    for (const int64_t dimension : shape) {
      if (dimension < 0) fail("array '" + name + "' has the shape " + shape_text(shape));
      expected *= static_cast<size_t>(dimension);
    }
    if (expected != count) {
      fail("array '" + name + "' has " + std::to_string(count) + " values, its shape " +
           shape_text(shape) + " asks for " + std::to_string(expected));
    }
    silence_hdf5_errors();
    Hdf5Handle array = create_hdf5_array(file.get(), name, file_type, shape);
    if (!array.valid()) fail("array '" + name + "' cannot be made; is its name taken?");
    if (count > 0 &&
        H5Dwrite(array.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
      fail("array '" + name + "' cannot be written");
    }
  }
};

Hdf5ResultWriter::Hdf5ResultWriter(std::string path) : impl_(std::make_unique<Impl>()) {
  impl_->path = std::move(path);
  impl_->file = create_hdf5_in_memory(impl_->path);
  if (!impl_->file.valid()) impl_->fail("HDF5 cannot make a file in memory");
}

Hdf5ResultWriter::~Hdf5ResultWriter() = default;

void Hdf5ResultWriter::add(const std::string& name, const std::vector<int64_t>& shape,
                           std::span<const float> values) {
  impl_->add(name, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, shape, values.size(), values.data());
}

void Hdf5ResultWriter::add(const std::string& name, const std::vector<int64_t>& shape,
                           std::span<const double> values) {
  impl_->add(name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, shape, values.size(), values.data());
}

void Hdf5ResultWriter::add(const std::string& name, const std::vector<int64_t>& shape,
                           std::span<const int64_t> values) {
  impl_->add(name, H5T_STD_I64LE, H5T_NATIVE_INT64, shape, values.size(), values.data());
}

void Hdf5ResultWriter::set_attribute(const std::string& name, const std::string& value) {
  silence_hdf5_errors();
  if (!impl_->file.valid() || !write_hdf5_attribute(impl_->file.get(), name, value)) {
    impl_->fail("attribute '" + name + "' cannot be written");
  }
}

void Hdf5ResultWriter::close() {
  if (impl_->file.valid()) save_hdf5(impl_->file, impl_->path);
}

}  // namespace drop
