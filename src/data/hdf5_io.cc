#include "data/hdf5_io.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/text.h"

namespace drop {

namespace {

// gzip packs at most about 1032 to 1; a larger claim than that is no data of ours
constexpr int64_t kMaxPacking = 1100;
constexpr int64_t kUnsuspiciousBytes = int64_t{64} << 20;
constexpr int64_t kMaxDimension = int64_t{1} << 40;
constexpr size_t kMaxListedLinks = 100000;
constexpr int64_t kBlockRows = 65536;

constexpr const char* kDamagedCure =
    "the file is damaged or truncated; fetch or make it again and compare its sha256";

// HDF5 asks this before it follows an external link: never
herr_t refuse_external_link(const char*, const char*, const char*, const char*, unsigned*, hid_t,
                            void*) {
  return -1;
}

// access properties under which no other file is opened
Hdf5Handle inside_file_only(hid_t property_class) {
  Hdf5Handle list(H5Pcreate(property_class), H5Pclose);
  H5Pset_elink_cb(list.get(), refuse_external_link, nullptr);
  return list;
}

std::string describe_type(hid_t type) {
  const std::string bits = std::to_string(8 * H5Tget_size(type));
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      return "float" + bits;
    case H5T_INTEGER:
      return (H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int") + bits;
    case H5T_ENUM: {
      // h5py stores a bool as an enum of one byte with the members FALSE and TRUE
      int8_t no = -1, yes = -1;
      const bool is_bool = H5Tget_size(type) == 1 && H5Tget_nmembers(type) == 2 &&
                           H5Tenum_valueof(type, "FALSE", &no) >= 0 &&
                           H5Tenum_valueof(type, "TRUE", &yes) >= 0 && no == 0 && yes == 1;
      return is_bool ? "bool" : "enum" + bits;
    }
    case H5T_STRING:
      return "string";
    case H5T_COMPOUND:
      return "compound";
    default:
      return "other";
  }
}

struct LinkName {
  std::string name;
  H5L_type_t type;
};

herr_t collect_link(hid_t, const char* name, const H5L_info_t* info, void* links) {
  // no exception may pass through HDF5's frames
  try {
    auto& list = *static_cast<std::vector<LinkName>*>(links);
    list.push_back({name, info->type});
    return list.size() > kMaxListedLinks ? -1 : 0;
  } catch (...) {
    return -1;
  }
}

// whether an array's values lie in other files. To be asked before its shape is: HDF5 opens those
// files to tell the shape of a virtual data set
bool lies_elsewhere(const Hdf5Handle& creation) {
  return H5Pget_layout(creation.get()) == H5D_VIRTUAL || H5Pget_external_count(creation.get()) != 0;
}

// type and shape of an open array; false when HDF5 cannot tell
bool describe_array(hid_t dataset, ArrayInfo& info) {
  const Hdf5Handle type(H5Dget_type(dataset), H5Tclose);
  const Hdf5Handle space(H5Dget_space(dataset), H5Sclose);
  if (!type.valid() || !space.valid()) return false;
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 0 || rank > H5S_MAX_RANK) return false;
  std::array<hsize_t, H5S_MAX_RANK> dims{};
  if (H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr) < 0) return false;
  info.shape.assign(dims.begin(), dims.begin() + rank);
  info.type = describe_type(type.get());
  return true;
}

// why a link of this name could not be opened
[[noreturn]] void throw_unreadable(const Hdf5Handle& file, const std::string& path,
                                   const std::string& name) {
  const Hdf5Handle access = inside_file_only(H5P_LINK_ACCESS);
  for (size_t end = name.find('/');; end = name.find('/', end + 1)) {
    const std::string part = name.substr(0, end);
    if (H5Lexists(file.get(), part.c_str(), access.get()) == 0) {
      throw DataError(in_key(path, name) + "is missing; the arrays found are " +
                      array_names_text(list_hdf5_arrays(file, path)) + "; rename or add the array");
    }
    H5L_info_t info;
    if (H5Lget_info(file.get(), part.c_str(), &info, access.get()) < 0) break;
    if (info.type == H5L_TYPE_EXTERNAL) {
      throw DataError(in_key(path, name) + "lies behind '" + part +
                      "', an external link to another file; only arrays inside the file are "
                      "read; copy the data into the file");
    }
    if (info.type == H5L_TYPE_SOFT) {
      throw DataError(in_key(path, name) + "lies behind '" + part +
                      "', a soft link that leads to no array inside the file; only arrays inside "
                      "the file are read; copy the data into the file");
    }
    if (end == std::string::npos) break;
  }
  throw DataError(in_key(path, name) + "cannot be opened as an array; " + kDamagedCure);
}

// refuses data that lie in other files or need an unknown filter; tells the rows of a chunk
int64_t check_storage(hid_t dataset, const std::string& path, const std::string& name) {
  const Hdf5Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  if (!creation.valid()) {
    throw DataError(in_key(path, name) + "has no readable layout; " + kDamagedCure);
  }
  if (lies_elsewhere(creation)) {
    throw DataError(in_key(path, name) +
                    "keeps its values in another file; only arrays inside the file are read; "
                    "copy the data into the file");
  }
  const int filters = H5Pget_nfilters(creation.get());
  for (int index = 0; index < filters; ++index) {
    unsigned flags = 0;
    size_t values = 0;
    std::array<char, 64> filter_name{};
    const H5Z_filter_t filter =
        H5Pget_filter2(creation.get(), static_cast<unsigned>(index), &flags, &values, nullptr,
                       filter_name.size() - 1, filter_name.data(), nullptr);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
        filter != H5Z_FILTER_FLETCHER32) {
      throw DataError(in_key(path, name) + "is compressed with filter " + std::to_string(filter) +
                      " (" + filter_name.data() +
                      "); known are gzip, shuffle and fletcher32; rewrite it with `h5repack -f "
                      "GZIP=4`");
    }
  }
  if (H5Pget_layout(creation.get()) != H5D_CHUNKED) return 0;
  std::array<hsize_t, H5S_MAX_RANK> chunk{};
  if (H5Pget_chunk(creation.get(), H5S_MAX_RANK, chunk.data()) < 1) return 0;
  return static_cast<int64_t>(chunk[0]);
}

// more than a file of this size can hold, however it is packed
bool exceeds_file(int64_t bytes, int64_t file_bytes) {
  return bytes > kUnsuspiciousBytes && bytes / kMaxPacking > file_bytes;
}

// refuses a chunk that so small a file cannot hold: HDF5 takes memory for the whole of it, even
// where the array has but a few of its rows
void check_chunk(const Hdf5ArrayReader& array, const std::string& path, int64_t file_bytes) {
  const Hdf5Handle creation(H5Dget_create_plist(array.handle.get()), H5Pclose);
  if (H5Pget_layout(creation.get()) != H5D_CHUNKED) return;
  std::array<hsize_t, H5S_MAX_RANK> chunk{};
  const int rank = H5Pget_chunk(creation.get(), H5S_MAX_RANK, chunk.data());
  int64_t bytes = std::max<int64_t>(array.element_bytes, 1);
  for (int axis = 0; axis < rank; ++axis) {
    if (chunk[static_cast<size_t>(axis)] > static_cast<hsize_t>(kMaxDimension) ||
        __builtin_mul_overflow(bytes, static_cast<int64_t>(chunk[static_cast<size_t>(axis)]),
                               &bytes)) {
      bytes = INT64_MAX;
      break;
    }
  }
  if (exceeds_file(bytes, file_bytes)) {
    throw DataError(in_key(path, array.info.name) + "is stored in chunks of " +
                    human_bytes(static_cast<double>(bytes)) + ", which a file of " +
                    human_bytes(static_cast<double>(file_bytes)) + " cannot hold; " + kDamagedCure);
  }
}

// refuses a size that overflows, exceeds the cap, or could not be packed into so small a file
void check_size(const Hdf5ArrayReader& array, const std::string& path, int64_t file_bytes) {
  int64_t bytes = std::max<int64_t>(array.element_bytes, 1);
  for (const int64_t dimension : array.info.shape) {
    if (dimension < 0 || dimension > kMaxDimension ||
        __builtin_mul_overflow(bytes, std::max<int64_t>(dimension, 1), &bytes)) {
      bytes = -1;
      break;
    }
  }
  const std::string claim = in_key(path, array.info.name) + "claims the shape " +
                            shape_text(array.info.shape) + " of " + array.info.type;
  if (bytes < 0 || bytes > kMaxMemoryBytes) {
    throw DataError(claim + "; allowed are " + human_bytes(kMaxMemoryBytes) +
                    " a file; cut the data set, or fetch the file again if it is damaged");
  }
  if (exceeds_file(bytes, file_bytes)) {
    throw DataError(claim + " (" + human_bytes(static_cast<double>(bytes)) + "), which a file of " +
                    human_bytes(static_cast<double>(file_bytes)) + " cannot hold; " + kDamagedCure);
  }
}

}  // namespace

int64_t Hdf5ArrayReader::row_size() const {
  int64_t size = 1;
  for (size_t axis = 1; axis < info.shape.size(); ++axis) size *= info.shape[axis];
  return size;
}

std::string in_key(const std::string& path, const std::string& name) {
  return path + ": key '" + name + "' ";
}

std::string rows_error(const std::string& path, const std::string& name, int64_t first,
                       int64_t last) {
  return in_key(path, name) + "rows " + std::to_string(first) + " to " + std::to_string(last) +
         " cannot be read; " + kDamagedCure;
}

std::string flag_error(const std::string& path, const std::string& name, int64_t row,
                       double value) {
  return in_key(path, name) + "row " + std::to_string(row) + " is " + number_text(value) +
         "; allowed are 0 and 1; write the flags as bool";
}

std::string number_text(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%g", value);
  return text.data();
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> parts;
  for (const int64_t dimension : shape) parts.push_back(std::to_string(dimension));
  return "[" + join(parts) + "]";
}

Hdf5Handle open_hdf5_file(const std::string& path) {
  silence_hdf5_errors();
  H5PLset_loading_state(0);  // no code is loaded for a file's sake
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw DataError(path + ": cannot be opened (" + std::strerror(error ? error.value() : ENOENT) +
                    "); give the path of an HDF5 file");
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw DataError(path + ": is not a regular file; give the path of an HDF5 file");
  }
  const htri_t is_hdf5 = H5Fis_hdf5(path.c_str());
  if (is_hdf5 < 0) {
    throw DataError(path + ": cannot be read; check its permissions and that it is not damaged");
  }
  if (is_hdf5 == 0) {
    throw DataError(path +
                    ": is not an HDF5 file (no HDF5 signature found); give the path of an HDF5 "
                    "file, or fetch it again if it should be one");
  }
  // no file locks: data may lie on a read-only or network disk
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access.get(), false, true);
  Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file.valid()) throw DataError(path + ": cannot be opened as HDF5; " + kDamagedCure);
  return file;
}

std::vector<ArrayInfo> list_hdf5_arrays(const Hdf5Handle& file, const std::string& path) {
  std::vector<LinkName> links;
  if (H5Lvisit(file.get(), H5_INDEX_NAME, H5_ITER_INC, collect_link, &links) < 0) {
    throw DataError(path + ": its table of contents cannot be read; " + kDamagedCure);
  }
  const Hdf5Handle access = inside_file_only(H5P_LINK_ACCESS);
  std::vector<ArrayInfo> arrays;
  for (const LinkName& link : links) {
    ArrayInfo info{link.name, {}, "damaged"};
    if (link.type == H5L_TYPE_EXTERNAL) {
      info.type = "external link (not followed)";
    } else {
      const Hdf5Handle object(H5Oopen(file.get(), link.name.c_str(), access.get()), H5Oclose);
      if (!object.valid()) {
        if (link.type != H5L_TYPE_HARD) info.type = "link to nothing inside the file";
      } else if (H5Iget_type(object.get()) != H5I_DATASET) {
        continue;
      } else {
        const Hdf5Handle creation(H5Dget_create_plist(object.get()), H5Pclose);
        if (creation.valid() && lies_elsewhere(creation)) {
          info.type = "values in another file (not read)";
        } else if (!creation.valid() || !describe_array(object.get(), info)) {
          info = {link.name, {}, "damaged"};
        }
      }
    }
    arrays.push_back(std::move(info));
  }
  std::sort(arrays.begin(), arrays.end(),
            [](const ArrayInfo& a, const ArrayInfo& b) { return a.name < b.name; });
  return arrays;
}

bool has_hdf5_link(const Hdf5Handle& file, const std::string& name) {
  return H5Lexists(file.get(), name.c_str(), H5P_DEFAULT) > 0;
}

std::string array_names_text(const std::vector<ArrayInfo>& arrays) {
  constexpr size_t kShown = 12;
  if (arrays.empty()) return "none";
  std::vector<std::string> names;
  for (size_t index = 0; index < std::min(arrays.size(), kShown); ++index) {
    names.push_back(arrays[index].name);
  }
  const std::string more =
      arrays.size() > kShown ? " and " + std::to_string(arrays.size() - kShown) + " more" : "";
  return join(names) + more;
}

Hdf5ArrayReader open_hdf5_array(const Hdf5Handle& file, const std::string& path,
                                const std::string& name) {
  silence_hdf5_errors();
  Hdf5ArrayReader array;
  array.info.name = name;
  const Hdf5Handle access = inside_file_only(H5P_DATASET_ACCESS);
  array.handle = Hdf5Handle(H5Dopen2(file.get(), name.c_str(), access.get()), H5Dclose);
  if (!array.handle.valid()) throw_unreadable(file, path, name);
  array.chunk_rows = check_storage(array.handle.get(), path, name);

  // shape and type, then what they claim against the file's size
  const Hdf5Handle type(H5Dget_type(array.handle.get()), H5Tclose);
  if (!type.valid() || !describe_array(array.handle.get(), array.info)) {
    throw DataError(in_key(path, name) + "has no readable shape or type; " + kDamagedCure);
  }
  array.type_class = H5Tget_class(type.get());
  array.element_bytes = static_cast<int64_t>(H5Tget_size(type.get()));
  hsize_t file_bytes = 0;
  H5Fget_filesize(file.get(), &file_bytes);
  check_size(array, path, static_cast<int64_t>(file_bytes));
  check_chunk(array, path, static_cast<int64_t>(file_bytes));
  return array;
}

void read_hdf5_rows(const Hdf5ArrayReader& array, const std::string& path, int64_t first,
                    int64_t count, hid_t memory_type, void* out) {
  const Hdf5Handle file_space(H5Dget_space(array.handle.get()), H5Sclose);
  Hdf5Handle memory_space(H5Screate(H5S_SCALAR), H5Sclose);
  if (!array.info.shape.empty()) {
    // all of the axes behind the first
    std::vector<hsize_t> start(array.info.shape.size(), 0);
    std::vector<hsize_t> size(array.info.shape.begin(), array.info.shape.end());
    start[0] = static_cast<hsize_t>(first);
    size[0] = static_cast<hsize_t>(count);
    H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, size.data(),
                        nullptr);
    memory_space =
        Hdf5Handle(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr), H5Sclose);
  }
  if (H5Dread(array.handle.get(), memory_type, memory_space.get(), file_space.get(), H5P_DEFAULT,
              out) < 0) {
    throw DataError(rows_error(path, array.info.name, first, first + count - 1));
  }
}

void for_each_row_block(const Hdf5ArrayReader& array,
                        const std::function<void(int64_t first, int64_t count)>& visit) {
  const int64_t chunk =
      std::clamp<int64_t>(array.chunk_rows, 1, std::max<int64_t>(array.rows(), 1));
  const int64_t block = std::max<int64_t>(1, kBlockRows / chunk) * chunk;
  for (int64_t first = 0; first < array.rows(); first += block) {
    visit(first, std::min(block, array.rows() - first));
  }
}

Hdf5Handle create_hdf5_in_memory(const std::string& path) {
  silence_hdf5_errors();
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.get(), size_t{4} << 20, false);
  return {H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose};
}

void save_hdf5(Hdf5Handle& file, const std::string& path) {
  silence_hdf5_errors();
  ssize_t size = 0;
  if (H5Fflush(file.get(), H5F_SCOPE_GLOBAL) >= 0) size = H5Fget_file_image(file.get(), nullptr, 0);
  std::vector<std::byte> image(static_cast<size_t>(std::max<ssize_t>(size, 0)));
  if (size <= 0 || H5Fget_file_image(file.get(), image.data(), image.size()) != size) {
    throw RunError(path + ": HDF5 cannot finish the file; is there enough memory?");
  }
  file.close();
  write_file_atomically(path, image);
}

Hdf5Handle create_hdf5_array(hid_t file, const std::string& name, hid_t type,
                             const std::vector<int64_t>& shape, int64_t chunk_rows) {
  const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const Hdf5Handle link(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(link.get(), 1);
  // no time stamps: the same data make the same file
  H5Pset_obj_track_times(creation.get(), false);
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  std::vector<hsize_t> largest = dims;
  if (chunk_rows > 0) {
    std::vector<hsize_t> chunk = dims;
    chunk[0] = static_cast<hsize_t>(chunk_rows);
    largest[0] = H5S_UNLIMITED;
    H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data());
    H5Pset_deflate(creation.get(), 4);
  }
  const Hdf5Handle space(
      dims.empty() ? H5Screate(H5S_SCALAR)
                   : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), largest.data()),
      H5Sclose);
  if (!space.valid()) return {};
  return {
      H5Dcreate2(file, name.c_str(), type, space.get(), link.get(), creation.get(), H5P_DEFAULT),
      H5Dclose};
}

bool write_hdf5_attribute(hid_t file, const std::string& name, hid_t type, const void* value) {
  const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Handle attribute(
      H5Acreate2(file, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  return attribute.valid() && H5Awrite(attribute.get(), type, value) >= 0;
}

bool write_hdf5_attribute(hid_t file, const std::string& name, const std::string& value) {
  const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const char* text = value.c_str();
  return write_hdf5_attribute(file, name, type.get(), &text);
}

}  // namespace drop
