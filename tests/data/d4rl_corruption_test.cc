// A data file with flipped bits, cut short, or mixed up with another kind of file.
//
// Whatever the damage: no crash, no hang, no error but a DataError (exit status 3) of one line that
// names the file. Any cut is refused, for the file's first block holds its length. A flipped bit
// may pass, because D4RL's HDF5 has no checksums of its own; then
//   - what is read is sound: sizes agree, numbers are finite, flags are 0 or 1, trajectories lie in
//     the file in order;
//   - its SHA-256 is that of the damaged bytes, so that `drop_data verify`, the provenance and
//     --resume tell it from the intact file;
//   - in the bytes of an array in gzip nothing can change (gzip has a checksum; a few of its bits
//     mean nothing), in those of a plain array no value but the one that lies there;
//   - elsewhere a flip hits unused space (same values), or metadata: then shapes, types or names
//   may
//     truly be others, which nothing but the SHA-256 can tell.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/hdf5_io.h"
#include "data/stored_array.h"
#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/random.h"
#include "drop/base/sha256.h"
#include "drop/data/d4rl_file.h"
#include "support/paths.h"

namespace drop {
namespace {

using Bytes = std::vector<std::byte>;

constexpr size_t kSuperblock =
    96;  // the first thing in the file, and the only one of a fixed place
constexpr size_t kBlock = 512;

// where the values of an array lie in the file
struct ValueBytes {
  std::string name;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t element_bytes = 0;
  bool packed = false;
};

std::vector<ValueBytes> find_values(const std::string& path) {
  std::vector<ValueBytes> found;
  const Hdf5Handle file = open_hdf5_file(path);
  for (const std::string name : {"observations", "actions", "rewards", "terminals", "timeouts"}) {
    const Hdf5ArrayReader array = open_hdf5_array(file, path, name);
    const std::optional<StoredArray> stored = find_stored_array(file, array);
    if (!stored) {
      ADD_FAILURE() << path << ": " << name;
      continue;
    }
    const bool packed = stored->gzip != StoredArray::kNoFilter;
    for (const StoredPiece& piece : stored->pieces) {
      found.push_back(
          {name, piece.address, piece.address + piece.bytes, stored->element_bytes, packed});
    }
  }
  return found;
}

// a small file whose arrays lie there as they are, each in one go
void write_plain_file(const std::string& path) {
  constexpr int64_t kRows = 40;
  Hdf5Handle file = create_hdf5_in_memory(path);
  RandomStream stream(4, "test");
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape, hid_t type,
                       bool flags) {
    std::vector<double> values(static_cast<size_t>(shape[0] * (shape.size() > 1 ? shape[1] : 1)));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = flags ? (i % 10 == 9 ? 1.0 : 0.0) : stream.uniform(-1.0, 1.0);
    const Hdf5Handle array = create_hdf5_array(file.get(), name, type, shape);
    ASSERT_GE(
        H5Dwrite(array.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  };
  add("observations", {kRows, 3}, H5T_IEEE_F32LE, false);
  add("actions", {kRows, 2}, H5T_IEEE_F32LE, false);
  add("rewards", {kRows}, H5T_IEEE_F64LE, false);
  add("terminals", {kRows}, H5T_STD_U8LE, true);
  add("timeouts", {kRows}, H5T_STD_U8LE, true);
  save_hdf5(file, path);
}

bool same_values(const TrajectoryDataset& a, const TrajectoryDataset& b) {
  return a.rows == b.rows && a.state_dim == b.state_dim && a.action_dim == b.action_dim &&
         a.observations == b.observations && a.actions == b.actions && a.rewards == b.rewards &&
         a.terminals == b.terminals && a.timeouts == b.timeouts;
}

// gives a value of a column the one that it has in the intact data
void mend(TrajectoryDataset& damaged, const TrajectoryDataset& intact, const std::string& name,
          size_t index) {
  const auto copy = [&](auto column) {
    if ((damaged.*column).size() == (intact.*column).size())
      (damaged.*column).at(index) = (intact.*column).at(index);
  };
  if (name == "observations") copy(&TrajectoryDataset::observations);
  if (name == "actions") copy(&TrajectoryDataset::actions);
  if (name == "rewards") copy(&TrajectoryDataset::rewards);
  if (name == "terminals") copy(&TrajectoryDataset::terminals);
  if (name == "timeouts") copy(&TrajectoryDataset::timeouts);
}

// what is wrong with data that were read, whatever they hold; empty if nothing is
std::string unsound(const TrajectoryDataset& data) {
  const auto rows = static_cast<size_t>(data.rows);
  if (data.rows < 1 || data.observations.size() != rows * static_cast<size_t>(data.state_dim) ||
      data.actions.size() != rows * static_cast<size_t>(data.action_dim) ||
      data.rewards.size() != rows || data.terminals.size() != rows ||
      data.timeouts.size() != rows) {
    return "sizes do not agree";
  }
  if (find_non_finite_rows(data).count > 0) return "numbers that are not finite";
  for (size_t row = 0; row < rows; ++row) {
    if (data.terminals[row] > 1 || data.timeouts[row] > 1) return "a flag that is none";
  }
  int64_t end = 0;
  for (const Trajectory& trajectory : data.trajectories) {
    if (trajectory.begin < end || trajectory.end <= trajectory.begin)
      return "trajectories out of order";
    end = trajectory.end;
  }
  return end <= data.rows ? "" : "a trajectory behind the last row";
}

class DataCorruption : public ::testing::Test {
 protected:
  struct Counts {
    int refused = 0;
    int same = 0;
    int one_value = 0;
    int others = 0;

    int sum() const { return refused + same + one_value + others; }
    void report(const std::string& name) const {
      const std::pair<const char*, int> counts[] = {{"_cases", sum()},
                                                    {"_refused", refused},
                                                    {"_same_values", same},
                                                    {"_one_value", one_value},
                                                    {"_by_sha256_only", others}};
      for (const auto& [what, count] : counts) RecordProperty(name + what, count);
    }
  };

  void open(const std::string& path) {
    bytes_ = read_file(path);
    values_ = find_values(path);
    write(bytes_);
    intact_ = read();
  }

  void write(std::span<const std::byte> bytes) const {
    std::ofstream out(file_, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
  }

  TrajectoryDataset read() const {
    ReadOptions options;
    options.threads = 1;
    return read_d4rl_file({file_, "damaged", Family::kLocomotion, ""}, options);
  }

  // the data, or nothing when they are refused as they must be
  std::optional<TrajectoryDataset> read_or_refuse() const {
    try {
      return read();
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr(file_));
      EXPECT_THAT(error.what(), ::testing::Not(::testing::HasSubstr("\n")));
      return std::nullopt;
    }
  }

  void flip(size_t place, int bit, Counts& counts) {
    SCOPED_TRACE("byte " + std::to_string(place) + " bit " + std::to_string(bit));
    const auto mask = static_cast<std::byte>(1 << bit);
    bytes_[place] ^= mask;
    write(bytes_);
    std::optional<TrajectoryDataset> data = read_or_refuse();
    if (data) {
      EXPECT_EQ(unsound(*data), "");
      EXPECT_EQ(data->sha256, sha256_hex(bytes_));
      EXPECT_NE(data->sha256, intact_.sha256);
    }
    bytes_[place] ^= mask;
    if (!data) {
      ++counts.refused;
    } else if (same_values(*data, intact_)) {
      ++counts.same;
    } else if (const ValueBytes* values = values_at(place)) {
      EXPECT_FALSE(values->packed) << "a flip in gzip passed with other values";
      const auto index = (static_cast<int64_t>(place) - values->begin) / values->element_bytes;
      mend(*data, intact_, values->name, static_cast<size_t>(index));
      EXPECT_TRUE(same_values(*data, intact_)) << "other values than the one there have changed";
      ++counts.one_value;
    } else {
      ++counts.others;
    }
  }

  const ValueBytes* values_at(size_t place) const {
    const auto at = static_cast<int64_t>(place);
    for (const ValueBytes& values : values_) {
      if (values.begin <= at && at < values.end) return &values;
    }
    return nullptr;
  }

  testing::TemporaryFolder folder_;
  std::string file_ = folder_.file("damaged.hdf5");
  Bytes bytes_;
  std::vector<ValueBytes> values_;
  TrajectoryDataset intact_;
};

TEST_F(DataCorruption, FlippedBitsOfAPackedFileAreRefusedOrHarmlessOrTold) {
  open(testing::fixture("hopper_medium-v2.hdf5"));
  Counts head;
  for (size_t place = 0; place < kSuperblock; ++place) {
    for (int bit = 0; bit < 8; ++bit) flip(place, bit, head);
  }
  Counts rest;
  RandomStream stream(1, "test");
  for (int i = 0; i < 1000; ++i) {
    const size_t place = kSuperblock + stream.below(bytes_.size() - kSuperblock);
    flip(place, static_cast<int>(stream.below(8)), rest);
  }
  head.report("superblock");
  rest.report("random");
  EXPECT_EQ(head.sum() + rest.sum(), 8 * static_cast<int>(kSuperblock) + 1000);
  EXPECT_GT(head.refused, 100);
  EXPECT_GT(rest.refused, 20);
  EXPECT_GT(rest.same, 20);
}

TEST_F(DataCorruption, AFlippedBitOfAPlainArrayChangesThatValueAlone) {
  const std::string plain = folder_.file("plain.hdf5");
  write_plain_file(plain);
  open(plain);
  Counts counts;
  RandomStream stream(2, "test");
  for (const ValueBytes& values : values_) {
    ASSERT_FALSE(values.packed);
    for (int i = 0; i < 60; ++i) {
      const auto length = static_cast<uint64_t>(values.end - values.begin);
      flip(static_cast<size_t>(values.begin) + stream.below(length),
           static_cast<int>(stream.below(8)), counts);
    }
  }
  counts.report("plain");
  EXPECT_EQ(counts.others, 0);
  EXPECT_GT(counts.one_value, 100);
  EXPECT_GT(counts.refused, 50);  // flags that are none, exponents of infinity
}

// Minutes, not seconds: scripts/torture.sh asks for it in its long form.
TEST_F(DataCorruption, EveryBitOfThePlainFilesMetadata) {
  if (std::getenv("DROP_LONG_TESTS") == nullptr) GTEST_SKIP() << "long: DROP_LONG_TESTS is not set";
  const std::string plain = folder_.file("plain.hdf5");
  write_plain_file(plain);
  open(plain);
  Counts counts;
  for (size_t place = 0; place < bytes_.size(); ++place) {
    if (values_at(place) != nullptr) continue;
    for (int bit = 0; bit < 8; ++bit) flip(place, bit, counts);
  }
  counts.report("metadata");
  EXPECT_EQ(counts.one_value, 0);
  EXPECT_GT(counts.refused, counts.others);
}

TEST_F(DataCorruption, EveryCutIsRefused) {
  open(testing::fixture("hopper_medium-v2.hdf5"));
  std::vector<size_t> sizes;
  for (size_t size = 0; size < bytes_.size(); size += kBlock) sizes.push_back(size);
  for (const ValueBytes& values : values_) {
    sizes.push_back(static_cast<size_t>(values.begin));
    sizes.push_back(static_cast<size_t>(values.end));
  }
  sizes.push_back(bytes_.size() - 1);
  int cases = 0;
  for (const size_t size : sizes) {
    if (size >= bytes_.size()) continue;
    SCOPED_TRACE("cut to " + std::to_string(size) + " bytes");
    write(std::span(bytes_).first(size));
    EXPECT_FALSE(read_or_refuse().has_value());
    ++cases;
  }
  RecordProperty("cut_cases", cases);
}

TEST_F(DataCorruption, AnotherKindOfFileIsRefused) {
  for (const char* other : {"golden_bc.safetensors", "make_fixtures.py"}) {
    write(read_file(testing::fixture(other)));
    EXPECT_FALSE(read_or_refuse().has_value()) << other;
  }
}

}  // namespace
}  // namespace drop
