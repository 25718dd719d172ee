#include "data/stored_array.h"

#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/system_report.h"

namespace drop {

namespace {

static_assert(std::endian::native == std::endian::little, "values are used as they are stored");

// listing takes a time of chunks squared (HDF5 1.10): 0.4 s here
constexpr int64_t kMaxPieces = 8192;
constexpr int64_t kMaxPieceBytes = int64_t{64} << 20;
constexpr int64_t kContiguousPieceBytes = int64_t{1} << 20;

// calls f with a value of the C++ type
decltype(auto) with_type(StoredType type, auto&& f) {
  switch (type) {
    case StoredType::kFloat64:
      return f(double{});
    case StoredType::kInt8:
      return f(int8_t{});
    case StoredType::kInt16:
      return f(int16_t{});
    case StoredType::kInt32:
      return f(int32_t{});
    case StoredType::kInt64:
      return f(int64_t{});
    case StoredType::kUint8:
      return f(uint8_t{});
    case StoredType::kUint16:
      return f(uint16_t{});
    case StoredType::kUint32:
      return f(uint32_t{});
    case StoredType::kUint64:
      return f(uint64_t{});
    case StoredType::kFloat32:
      break;
  }
  return f(float{});
}

std::optional<StoredType> find_type(hid_t dataset) {
  Hdf5Handle type(H5Dget_type(dataset), H5Tclose);
  if (H5Tget_class(type.get()) == H5T_ENUM) type = {H5Tget_super(type.get()), H5Tclose};
  const std::pair<hid_t, StoredType> known[] = {
      {H5T_IEEE_F32LE, StoredType::kFloat32}, {H5T_IEEE_F64LE, StoredType::kFloat64},
      {H5T_STD_I8LE, StoredType::kInt8},      {H5T_STD_I16LE, StoredType::kInt16},
      {H5T_STD_I32LE, StoredType::kInt32},    {H5T_STD_I64LE, StoredType::kInt64},
      {H5T_STD_U8LE, StoredType::kUint8},     {H5T_STD_U16LE, StoredType::kUint16},
      {H5T_STD_U32LE, StoredType::kUint32},   {H5T_STD_U64LE, StoredType::kUint64}};
  for (const auto& [id, stored] : known) {
    if (H5Tequal(type.get(), id) > 0) return stored;
  }
  return std::nullopt;
}

// false for a pipeline other than [shuffle][gzip]
bool find_filters(hid_t creation, StoredArray& stored) {
  const int filters = H5Pget_nfilters(creation);
  for (int index = 0; index < filters; ++index) {
    unsigned flags = 0;
    std::array<unsigned, 4> values{};
    size_t count = values.size();
    const H5Z_filter_t filter = H5Pget_filter2(creation, static_cast<unsigned>(index), &flags,
                                               &count, values.data(), 0, nullptr, nullptr);
    const bool first = stored.gzip == StoredArray::kNoFilter;
    if (filter == H5Z_FILTER_DEFLATE && first) {
      stored.gzip = index;
    } else if (filter == H5Z_FILTER_SHUFFLE && first && index == 0 && count == 1 &&
               values[0] == stored.element_bytes) {
      stored.shuffle = index;
    } else {
      return false;
    }
  }
  return filters >= 0;
}

bool find_chunks(hid_t dataset, hid_t creation, StoredArray& stored, int rank) {
  std::array<hsize_t, 2> chunk{1, 1};
  if (H5Pget_chunk(creation, rank, chunk.data()) != rank) return false;
  // chunks over the edge may be left unfiltered, which their masks do not tell
  unsigned edge_options = 0;
  if (H5Pget_chunk_opts(creation, &edge_options) < 0 || edge_options != 0) return false;
  stored.piece_rows = static_cast<int64_t>(chunk[0]);
  stored.piece_width = static_cast<int64_t>(chunk[1]);
  if (stored.piece_rows < 1 || stored.piece_rows > kMaxPieceBytes || stored.piece_width < 1 ||
      stored.piece_width > kMaxPieceBytes ||
      stored.piece_values() * stored.element_bytes > kMaxPieceBytes) {
    return false;
  }
  const int64_t down = (stored.rows + stored.piece_rows - 1) / stored.piece_rows;
  const int64_t across = stored.pieces_across();
  const Hdf5Handle space(H5Dget_space(dataset), H5Sclose);
  hsize_t count = 0;
  if (down > kMaxPieces || across > kMaxPieces || down * across > kMaxPieces ||
      H5Dget_num_chunks(dataset, space.get(), &count) < 0 ||
      static_cast<int64_t>(count) != down * across) {
    return false;
  }
  for (hsize_t index = 0; index < count; ++index) {
    std::array<hsize_t, H5S_MAX_RANK> offset{};
    unsigned skipped = 0;
    haddr_t address = 0;
    hsize_t bytes = 0;
    if (H5Dget_chunk_info(dataset, space.get(), index, offset.data(), &skipped, &address, &bytes) <
        0) {
      return false;
    }
    stored.pieces.push_back({static_cast<int64_t>(offset[0]),
                             rank == 2 ? static_cast<int64_t>(offset[1]) : 0,
                             static_cast<int64_t>(address), static_cast<int64_t>(bytes), skipped});
  }

  // every piece once
  std::sort(stored.pieces.begin(), stored.pieces.end(),
            [](const StoredPiece& a, const StoredPiece& b) {
              return std::pair(a.row, a.column) < std::pair(b.row, b.column);
            });
  for (int64_t index = 0; index < down * across; ++index) {
    const StoredPiece& piece = stored.pieces[static_cast<size_t>(index)];
    if (piece.row != index / across * stored.piece_rows ||
        piece.column != index % across * stored.piece_width) {
      return false;
    }
  }
  return true;
}

bool find_contiguous(hid_t dataset, StoredArray& stored) {
  const haddr_t address = H5Dget_offset(dataset);
  const int64_t row_bytes = stored.width * stored.element_bytes;
  constexpr haddr_t kFarthest = haddr_t{1} << 62;  // sums of such addresses are numbers still
  if (address == HADDR_UNDEF || address > kFarthest ||
      static_cast<int64_t>(H5Dget_storage_size(dataset)) != stored.rows * row_bytes ||
      row_bytes > kMaxPieceBytes) {
    return false;
  }
  stored.piece_rows = std::max<int64_t>(1, kContiguousPieceBytes / row_bytes);
  stored.piece_width = stored.width;
  for (int64_t row = 0; row < stored.rows; row += stored.piece_rows) {
    stored.pieces.push_back({row, 0, static_cast<int64_t>(address) + row * row_bytes,
                             std::min(stored.piece_rows, stored.rows - row) * row_bytes, 0});
  }
  return true;
}

class RawFile {
 public:
  explicit RawFile(const std::string& path)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) {
      throw DataError(path + ": cannot be opened (" + std::strerror(errno) +
                      "); check its permissions");
    }
    bytes_ = ::lseek(descriptor_, 0, SEEK_END);
  }
  ~RawFile() { ::close(descriptor_); }
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;

  // false when the file has no such bytes
  bool read(int64_t address, int64_t count, std::vector<std::byte>& out) const {
    if (address < 0 || count < 0 || count > bytes_ || address > bytes_ - count) return false;
    if (static_cast<int64_t>(out.size()) < count) out.resize(static_cast<size_t>(count));
    for (int64_t done = 0; done < count;) {
      const ssize_t got = ::pread(descriptor_, out.data() + done, static_cast<size_t>(count - done),
                                  address + done);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      done += got;
    }
    return true;
  }

 private:
  int descriptor_;
  int64_t bytes_ = 0;
};

// value `index` of a piece; shuffled, all first bytes come first, then all second ones, ...
template <typename From>
From load(const std::byte* values, bool shuffled, int64_t count, int64_t index) {
  From value;
  if (shuffled && sizeof(From) > 1) {
    std::array<std::byte, sizeof(From)> bytes{};
    for (size_t k = 0; k < sizeof(From); ++k)
      bytes[k] = values[static_cast<int64_t>(k) * count + index];
    std::memcpy(&value, bytes.data(), sizeof(From));
  } else {
    std::memcpy(&value, values + index * static_cast<int64_t>(sizeof(From)), sizeof(From));
  }
  return value;
}

template <typename To, typename From>
To convert(From value) {
  // as HDF5 does: beyond float32's range lies infinity, without rounding
  if constexpr (std::is_same_v<From, double> && std::is_same_v<To, float>) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    constexpr double kMax = std::numeric_limits<float>::max();
    if (value > kMax) return kInfinity;
    if (value < -kMax) return -kInfinity;
  }
  return static_cast<To>(value);
}

// what one thread reads with
class PieceReader {
 public:
  PieceReader(const std::string& path, const RawFile& file)
      : path_(path), file_(file), state_(std::make_unique<inflate_state>()) {}

  void read(const ArrayTarget& target, const StoredPiece& piece) {
    const StoredArray& stored = *target.stored;
    const std::byte* values = unpack(stored, piece);
    if (values == nullptr) {
      const int64_t last = std::min(piece.row + stored.piece_rows, stored.rows) - 1;
      throw DataError(rows_error(path_, stored.name, piece.row, last));
    }
    std::visit(
        [&](auto out) {
          if constexpr (!std::is_same_v<decltype(out), std::monostate>) {
            with_type(stored.type, [&]<typename From>(From) {
              if (applies(stored.shuffle, piece)) {
                place<From, true>(stored, piece, values, out);
              } else {
                place<From, false>(stored, piece, values, out);
              }
            });
          }
        },
        target.out);
  }

 private:
  static bool applies(int filter, const StoredPiece& piece) {
    return filter != StoredArray::kNoFilter && (piece.skipped_filters >> filter & 1) == 0;
  }

  // a piece's values, still shuffled; null when they are damaged
  const std::byte* unpack(const StoredArray& stored, const StoredPiece& piece) {
    if (!file_.read(piece.address, piece.bytes, packed_)) return nullptr;
    const int64_t expected = stored.piece_values() * stored.element_bytes;
    if (!applies(stored.gzip, piece)) {
      // the last piece of an array in one go ends with the array
      const int64_t rows = std::min(stored.piece_rows, stored.rows - piece.row);
      const bool to_the_end = !applies(stored.shuffle, piece) &&
                              piece.bytes == rows * stored.piece_width * stored.element_bytes;
      return piece.bytes == expected || to_the_end ? packed_.data() : nullptr;
    }
    if (static_cast<int64_t>(unpacked_.size()) < expected)
      unpacked_.resize(static_cast<size_t>(expected));
    isal_inflate_init(state_.get());
    state_->crc_flag = ISAL_ZLIB;
    state_->next_in = reinterpret_cast<uint8_t*>(packed_.data());
    state_->avail_in = static_cast<uint32_t>(piece.bytes);
    state_->next_out = reinterpret_cast<uint8_t*>(unpacked_.data());
    state_->avail_out = static_cast<uint32_t>(expected);
    if (isal_inflate_stateless(state_.get()) != ISAL_DECOMP_OK || state_->avail_out != 0)
      return nullptr;
    return unpacked_.data();
  }

  // the part of a piece that lies inside the array, into its place
  template <typename From, bool kShuffled, typename To>
  void place(const StoredArray& stored, const StoredPiece& piece, const std::byte* values,
             To* out) const {
    const int64_t rows = std::min(stored.piece_rows, stored.rows - piece.row);
    const int64_t columns = std::min(stored.piece_width, stored.width - piece.column);
    const int64_t count = stored.piece_values();
    for (int64_t row = 0; row < rows; ++row) {
      To* to = out + (piece.row + row) * stored.width + piece.column;
      for (int64_t column = 0; column < columns; ++column) {
        const auto value = load<From>(values, kShuffled, count, row * stored.piece_width + column);
        if constexpr (std::is_same_v<To, uint8_t>) {
          if (value != From{0} && value != From{1}) refuse_flag(stored, piece.row + row, value);
        }
        to[column] = convert<To>(value);
      }
    }
  }

  [[noreturn]] void refuse_flag(const StoredArray& stored, int64_t row, auto value) const {
    throw DataError(flag_error(path_, stored.name, row, static_cast<double>(value)));
  }

  const std::string& path_;
  const RawFile& file_;
  std::unique_ptr<inflate_state> state_;
  std::vector<std::byte> packed_;
  std::vector<std::byte> unpacked_;
};

// the pieces of one array that share their rows, and so also the lines of memory they are put into
struct Task {
  const ArrayTarget* target;
  std::span<const StoredPiece> pieces;
};

std::vector<Task> make_tasks(std::span<const ArrayTarget> targets) {
  std::vector<Task> tasks;
  for (const ArrayTarget& target : targets) {
    if (!target.stored) continue;
    const auto across = static_cast<size_t>(target.stored->pieces_across());
    const std::span<const StoredPiece> pieces = target.stored->pieces;
    for (size_t first = 0; first < pieces.size(); first += across)
      tasks.push_back({&target, pieces.subspan(first, across)});
  }
  return tasks;
}

// done by several threads; the error of the first task that fails is thrown
void run_tasks(const std::string& path, std::span<const Task> tasks, int64_t threads) {
  if (tasks.empty()) return;
  const RawFile file(path);
  std::atomic<size_t> next{0};
  std::atomic<size_t> failed{tasks.size()};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    size_t index = 0;
    try {
      PieceReader reader(path, file);
      while ((index = next++) < failed) {
        for (const StoredPiece& piece : tasks[index].pieces)
          reader.read(*tasks[index].target, piece);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (index < failed) {
        failed = index;
        error = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    try {
      const auto most = std::min(static_cast<size_t>(threads), tasks.size());
      while (helpers.size() + 1 < most) helpers.emplace_back(work);
    } catch (const std::system_error&) {
      // no more threads: those that run suffice
    }
    work();
  }
  if (error) std::rethrow_exception(error);
}

// the slow way, for what is stored in an unusual manner
void read_by_hdf5(const std::string& path, const ArrayTarget& target) {
  const Hdf5ArrayReader& array = *target.array;
  const int64_t width = array.row_size();
  std::vector<double> block;
  for_each_row_block(array, [&](int64_t first, int64_t count) {
    if (auto* const* floats = std::get_if<float*>(&target.out)) {
      read_hdf5_rows(array, path, first, count, H5T_NATIVE_FLOAT, *floats + first * width);
    } else if (auto* const* doubles = std::get_if<double*>(&target.out)) {
      read_hdf5_rows(array, path, first, count, H5T_NATIVE_DOUBLE, *doubles + first * width);
    } else {
      block.resize(static_cast<size_t>(count * width));
      read_hdf5_rows(array, path, first, count, H5T_NATIVE_DOUBLE, block.data());
      auto* const* flags = std::get_if<uint8_t*>(&target.out);
      for (int64_t index = 0; flags != nullptr && index < count * width; ++index) {
        const double value = block[static_cast<size_t>(index)];
        if (value != 0.0 && value != 1.0)
          throw DataError(flag_error(path, array.info.name, first + index / width, value));
        (*flags)[first * width + index] = value == 1.0;
      }
    }
  });
}

}  // namespace

std::optional<StoredArray> find_stored_array(const Hdf5Handle& file, const Hdf5ArrayReader& array) {
  const hid_t dataset = array.handle.get();
  const auto rank = static_cast<int>(array.info.shape.size());
  const std::optional<StoredType> type = find_type(dataset);
  const Hdf5Handle of_file(H5Fget_create_plist(file.get()), H5Pclose);
  const Hdf5Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  hsize_t before_file = 0;
  if (rank < 1 || rank > 2 || !type || H5Pget_userblock(of_file.get(), &before_file) < 0 ||
      before_file != 0) {
    return std::nullopt;
  }
  StoredArray stored;
  stored.name = array.info.name;
  stored.type = *type;
  stored.element_bytes = array.element_bytes;
  stored.rows = array.rows();
  stored.width = array.row_size();
  if (stored.rows < 1 || stored.width < 1 || !find_filters(creation.get(), stored))
    return std::nullopt;
  bool found = false;
  if (H5Pget_layout(creation.get()) == H5D_CHUNKED) {
    found = find_chunks(dataset, creation.get(), stored, rank);
  } else if (H5Pget_layout(creation.get()) == H5D_CONTIGUOUS) {
    found = find_contiguous(dataset, stored);
  }
  if (!found) return std::nullopt;
  return stored;
}

void read_hdf5_arrays(const std::string& path, std::span<const ArrayTarget> targets,
                      int64_t threads) {
  for (const ArrayTarget& target : targets) {
    if (!target.stored) read_by_hdf5(path, target);
  }
  run_tasks(path, make_tasks(targets), threads > 0 ? threads : available_cores());
}

}  // namespace drop
