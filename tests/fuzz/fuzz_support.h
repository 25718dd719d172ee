#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace drop::fuzz {

/// Bytes that readers can open by a path, in memory where the system has such a folder. A name that
/// can be resolved: HDF5 opens no /proc/self/fd/N whose file has none.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size)
      : path_((::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") +
              std::string("/drop_fuzz_XXXXXX")) {
    const int descriptor = ::mkstemp(path_.data());
    if (descriptor < 0 || ::write(descriptor, data, size) != static_cast<ssize_t>(size)) {
      std::perror(path_.c_str());
      std::_Exit(1);
    }
    ::close(descriptor);
  }
  ~MemoryFile() { ::unlink(path_.c_str()); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Inputs that the target's main reader took; told at the end. A target that never accepts anything
/// tries nothing but the reader's first check.
struct Tally {
  int64_t accepted = 0;
  ~Tally() { std::fprintf(stderr, "accepted: %lld\n", static_cast<long long>(accepted)); }
};
inline Tally tally;

[[noreturn]] inline void report_finding(const std::string& what) {
  std::fprintf(stderr, "finding: %s\n", what.c_str());
  std::abort();
}

/// Calls a reader, which may refuse its input by an error of the kind `Refusal` with one line that
/// holds `name`. Anything else that it throws ends the process: that is a finding. True when the
/// input was taken.
template <class Refusal, class Read>
bool expect_read_or_refused(std::string_view name, const Read& read) {
  try {
    read();
    return true;
  } catch (const Refusal& error) {
    const std::string_view message = error.what();
    if (message.find('\n') != std::string_view::npos ||
        message.find(name) == std::string_view::npos)
      report_finding("a message of several lines, or without the file: " + std::string(message));
    return false;
  }
}

}  // namespace drop::fuzz
