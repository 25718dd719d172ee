#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace drop::fuzz {

/// Bytes that readers can open by a path, without a disk.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ::write(descriptor_, data, size) != static_cast<ssize_t>(size)) {
      std::perror("memfd");
      std::_Exit(1);
    }
    path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  int descriptor_;
  std::string path_;
};

[[noreturn]] inline void report_finding(const std::string& what) {
  std::fprintf(stderr, "finding: %s\n", what.c_str());
  std::abort();
}

/// Calls a reader, which may refuse its input by an error of the kind `Refusal` with one line that
/// holds `name`. Anything else that it throws ends the process: that is a finding.
template <class Refusal, class Read>
void expect_read_or_refused(std::string_view name, const Read& read) {
  try {
    read();
  } catch (const Refusal& error) {
    const std::string_view message = error.what();
    if (message.find('\n') != std::string_view::npos ||
        message.find(name) == std::string_view::npos)
      report_finding("a message of several lines, or without the file: " + std::string(message));
  }
}

}  // namespace drop::fuzz
