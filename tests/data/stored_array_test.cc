#include "data/stored_array.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/random.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::HasSubstr;

// how an array "a" is written
struct Form {
  std::string what;
  hid_t type;
  std::vector<hsize_t> shape;
  std::vector<hsize_t> chunk = {};  ///< empty = in one go
  bool shuffle = false;
  bool gzip = false;
  bool fletcher = false;
  bool flags = false;  ///< values are 0 and 1
  bool stored = true;  ///< readable without HDF5
  hsize_t user_block = 0;
};

void write(const std::string& path, const Form& form) {
  const Hdf5Handle of_file(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_userblock(of_file.get(), form.user_block);
  const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, of_file.get(), H5P_DEFAULT),
                        H5Fclose);
  const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const auto rank = static_cast<int>(form.shape.size());
  if (!form.chunk.empty()) H5Pset_chunk(creation.get(), rank, form.chunk.data());
  if (form.fletcher) H5Pset_fletcher32(creation.get());
  if (form.shuffle) H5Pset_shuffle(creation.get());
  if (form.gzip) H5Pset_deflate(creation.get(), 4);
  const std::vector<hsize_t> unlimited(form.shape.size(), H5S_UNLIMITED);
  const Hdf5Handle space(
      H5Screate_simple(rank, form.shape.data(), form.chunk.empty() ? nullptr : unlimited.data()),
      H5Sclose);
  const Hdf5Handle array(
      H5Dcreate2(file.get(), "a", form.type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
      H5Dclose);
  size_t count = 1;
  for (const hsize_t dimension : form.shape) count *= dimension;
  std::vector<double> values(count);
  RandomStream rng(3, "test");
  for (double& value : values) {
    value = form.flags ? static_cast<double>(rng.below(2)) : std::round(rng.uniform(-120.0, 120.0));
    if (!form.flags && H5Tget_class(form.type) == H5T_FLOAT) value += rng.uniform();
  }
  if (H5Tget_class(form.type) == H5T_FLOAT && !form.flags && count > 6) {
    constexpr double kMax = std::numeric_limits<float>::max();
    const std::array<double, 6> special = {NAN, INFINITY, -0.0, 1e300, -kMax * (1 + 1e-9), 1e-42};
    std::copy(special.begin(), special.end(), values.begin());
  }
  // HDF5 turns numbers into no enum
  const std::vector<int8_t> bytes(values.begin(), values.end());
  const bool is_enum = H5Tget_class(form.type) == H5T_ENUM;
  const void* from = is_enum ? static_cast<const void*>(bytes.data()) : values.data();
  ASSERT_GE(H5Dwrite(array.get(), is_enum ? form.type : H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL,
                     H5P_DEFAULT, from),
            0)
      << form.what;
}

// the type by which h5py stores a bool
Hdf5Handle make_bool() {
  Hdf5Handle type(H5Tenum_create(H5T_STD_I8LE), H5Tclose);
  const int8_t no = 0, yes = 1;
  H5Tenum_insert(type.get(), "FALSE", &no);
  H5Tenum_insert(type.get(), "TRUE", &yes);
  return type;
}

// the array "a", read as it should be, or by HDF5 alone
template <typename Number>
std::vector<Number> read(const std::string& path, int64_t threads, bool by_hdf5 = false) {
  const Hdf5Handle file = open_hdf5_file(path);
  const Hdf5ArrayReader array = open_hdf5_array(file, path, "a");
  std::vector<Number> values(static_cast<size_t>(array.rows() * array.row_size()), Number{77});
  ArrayTarget target{&array, find_stored_array(file, array), values.data()};
  if (by_hdf5) target.stored.reset();
  read_hdf5_arrays(path, {&target, 1}, threads);
  return values;
}

bool is_stored(const std::string& path) {
  const Hdf5Handle file = open_hdf5_file(path);
  return find_stored_array(file, open_hdf5_array(file, path, "a")).has_value();
}

template <typename Number>
bool same_bits(const std::vector<Number>& a, const std::vector<Number>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(Number)) == 0;
}

std::string error_of(const std::string& path, int64_t threads) {
  try {
    read<uint8_t>(path, threads);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

TEST(StoredArray, ReadsTheBitsThatHdf5Reads) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("a.hdf5");
  const std::vector<Form> forms = {
      {"columns of chunks, as h5py makes them", H5T_IEEE_F32LE, {1000, 11}, {64, 1}, false, true},
      {"chunks beyond both edges", H5T_IEEE_F32LE, {1000, 11}, {300, 4}, false, true},
      {"whole rows", H5T_IEEE_F32LE, {1000, 3}, {128, 3}, false, true},
      {"one chunk larger than the array", H5T_IEEE_F64LE, {10, 3}, {64, 8}, false, true},
      {"shuffled", H5T_IEEE_F32LE, {1000, 5}, {128, 2}, true, true},
      {"shuffled only", H5T_IEEE_F64LE, {1000, 5}, {128, 5}, true, false},
      {"shuffled bytes", H5T_STD_I8LE, {1000}, {300}, true, true},
      {"chunks as they are", H5T_IEEE_F64LE, {1000, 5}, {128, 2}},
      {"in one go", H5T_IEEE_F32LE, {1000, 7}},
      {"in one go, several pieces", H5T_IEEE_F64LE, {300000}},
      {"float64", H5T_IEEE_F64LE, {1000, 11}, {64, 1}, false, true},
      {"int16", H5T_STD_I16LE, {1000}, {64}, true, true},
      {"int32", H5T_STD_I32LE, {1000}, {64}, false, true},
      {"int64", H5T_STD_I64LE, {1000}, {64}, true, true},
      {"uint8", H5T_STD_U8LE, {1000}, {64}, false, true},
      {"uint16", H5T_STD_U16LE, {1000}, {64}, false, true},
      {"uint32", H5T_STD_U32LE, {1000, 1}, {64, 1}, false, true},
      {"uint64", H5T_STD_U64LE, {1000}, {64}, false, true},
      {"one row", H5T_IEEE_F32LE, {1}, {64}, false, true},
      {"checksums", H5T_IEEE_F32LE, {1000, 3}, {64, 3}, false, true, true, false, false},
      {"big-endian", H5T_IEEE_F32BE, {1000, 3}, {64, 3}, false, true, false, false, false},
      {"three axes", H5T_IEEE_F32LE, {10, 3, 5}, {4, 3, 5}, false, true, false, false, false},
      {"a user block", H5T_IEEE_F32LE, {1000}, {64}, false, true, false, false, false, 512}};
  for (const Form& form : forms) {
    write(path, form);
    EXPECT_EQ(is_stored(path), form.stored) << form.what;
    const auto floats = read<float>(path, 1, true);
    const auto doubles = read<double>(path, 1, true);
    for (const int64_t threads : {1, 2, 7}) {
      EXPECT_TRUE(same_bits(read<float>(path, threads), floats)) << form.what << " " << threads;
      EXPECT_TRUE(same_bits(read<double>(path, threads), doubles)) << form.what << " " << threads;
    }
  }
}

TEST(StoredArray, ReadsFlagsOfEveryType) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("a.hdf5");
  const Hdf5Handle flag = make_bool();
  for (const hid_t type : {flag.get(), H5T_STD_U8LE, H5T_STD_I32LE, H5T_IEEE_F32LE}) {
    write(path, {"", type, {1000}, {64}, false, true, false, true});
    EXPECT_TRUE(is_stored(path));
    EXPECT_EQ(read<uint8_t>(path, 2), read<uint8_t>(path, 1, true));
    EXPECT_EQ(read<double>(path, 2), read<double>(path, 1, true));
  }
}

TEST(StoredArray, FiltersThatAChunkLeftOutAreLeftOut) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("a.hdf5");
  write(path, {"", H5T_IEEE_F64LE, {300}, {100}, true, true});
  const std::vector<double> before = read<double>(path, 1);
  {
    // as they are, without shuffle and gzip
    const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const Hdf5Handle array(H5Dopen2(file.get(), "a", H5P_DEFAULT), H5Dclose);
    std::vector<double> values(100);
    std::iota(values.begin(), values.end(), 0.25);
    const hsize_t offset = 100;
    ASSERT_GE(H5Dwrite_chunk(array.get(), H5P_DEFAULT, 3, &offset, 800, values.data()), 0);
  }
  EXPECT_TRUE(is_stored(path));
  const std::vector<double> after = read<double>(path, 2);
  EXPECT_EQ(after[150], 50.25);
  EXPECT_EQ(after[250], before[250]);
  EXPECT_TRUE(same_bits(after, read<double>(path, 1, true)));
}

TEST(StoredArray, ChunksThatWereNeverWrittenAreLeftToHdf5) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("a.hdf5");
  {
    const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
                          H5Fclose);
    create_hdf5_array(file.get(), "a", H5T_IEEE_F32LE, {300, 2}, 100);
  }
  EXPECT_FALSE(is_stored(path));
  EXPECT_EQ(read<float>(path, 2), std::vector<float>(600, 0.0F));
}

TEST(StoredArray, TheFirstFlagThatIsNoneIsNamed) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("a.hdf5");
  write(path, {"", H5T_STD_I32LE, {1000}, {64}, false, true});
  const std::vector<double> values = read<double>(path, 1, true);
  size_t row = 0;
  while (values[row] == 0.0 || values[row] == 1.0) ++row;
  for (const int64_t threads : {1, 4}) {
    EXPECT_THAT(error_of(path, threads),
                HasSubstr("a.hdf5: key 'a' row " + std::to_string(row) + " is " +
                          number_text(values[row]) + "; allowed are 0 and 1"));
  }
}

TEST(StoredArray, DamagedChunksAreNamedByTheirRows) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("a.hdf5");
  for (const bool shuffle : {false, true}) {
    write(path, {"", H5T_IEEE_F32LE, {1000}, {64}, shuffle, true, false, true});
    const Hdf5Handle file = open_hdf5_file(path);
    const auto stored = find_stored_array(file, open_hdf5_array(file, path, "a"));
    ASSERT_TRUE(stored.has_value());
    const std::vector<std::byte> whole = read_file(path);

    // any byte of a chunk: its header, its middle, its checksum
    const StoredPiece& piece = stored->pieces[5];
    for (const int64_t place : {int64_t{0}, piece.bytes / 2, piece.bytes - 1}) {
      std::vector<std::byte> bytes = whole;
      for (const int64_t address : {piece.address, stored->pieces[12].address}) {
        bytes[static_cast<size_t>(address + place)] ^= std::byte{0x10};
      }
      write_file_atomically(path, bytes);
      for (const int64_t threads : {1, 4}) {
        EXPECT_THAT(error_of(path, threads),
                    HasSubstr("a.hdf5: key 'a' rows 320 to 383 cannot be read; the file is "
                              "damaged"))
            << place;
      }
    }
  }
}

TEST(StoredArray, PiecesOutsideTheFileAreRefused) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("a.hdf5");
  write(path, {"", H5T_IEEE_F32LE, {1000}, {64}, false, true, false, true});
  const Hdf5Handle file = open_hdf5_file(path);
  const Hdf5ArrayReader array = open_hdf5_array(file, path, "a");
  const auto good = find_stored_array(file, array);
  ASSERT_TRUE(good.has_value());
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path));
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  for (const auto& [address, bytes] : std::vector<std::pair<int64_t, int64_t>>{
           {-1, 10}, {size, 1}, {size - 5, 10}, {0, size + 1}, {kHuge, 10}, {10, kHuge}, {0, -1}}) {
    StoredArray stored = *good;
    stored.pieces[15].address = address;
    stored.pieces[15].bytes = bytes;
    const ArrayTarget target{&array, stored, {}};
    EXPECT_THROW(read_hdf5_arrays(path, {&target, 1}, 2), DataError) << address << " " << bytes;
  }
}

}  // namespace
}  // namespace drop
