#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace drop {

/// A file that grows at its end. What is appended is collected in memory until `flush` or until
/// there is enough of it; RunError names the file and the reason when the disk takes no more.
class AppendFile {
 public:
  explicit AppendFile(std::filesystem::path path);
  /// Flushes; a failure is only logged, because it may come while another error is on its way.
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view bytes);
  /// Hands everything to the operating system: it outlives this process, however that ends.
  void flush();

 private:
  void write_until(size_t left);  // in the buffer

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string buffer_;
};

}  // namespace drop
