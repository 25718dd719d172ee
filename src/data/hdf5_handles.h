#pragma once

#include <hdf5.h>

#include <utility>

namespace drop {

/// Owns one HDF5 identifier and closes it with the function that belongs to its kind.
class Hdf5Handle {
 public:
  using Closer = herr_t (*)(hid_t);

  Hdf5Handle() = default;
  Hdf5Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  ~Hdf5Handle() { close(); }
  Hdf5Handle(Hdf5Handle&& other) noexcept
      : id_(std::exchange(other.id_, -1)), closer_(other.closer_) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    if (this != &other) {
      close();
      id_ = std::exchange(other.id_, -1);
      closer_ = other.closer_;
    }
    return *this;
  }
  Hdf5Handle(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(const Hdf5Handle&) = delete;

  /// False when the call that should have made the identifier failed.
  bool valid() const { return id_ >= 0; }
  hid_t get() const { return id_; }

  /// Closes now; false when HDF5 reports a failure (for a file: data not written).
  bool close() {
    if (id_ < 0) return true;
    return closer_(std::exchange(id_, -1)) >= 0;
  }

 private:
  hid_t id_ = -1;
  Closer closer_ = nullptr;
};

/// Keeps HDF5 from printing its error stack in this thread. Every entry point of this folder calls
/// it, because each error becomes one line of our own.
inline void silence_hdf5_errors() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

}  // namespace drop
