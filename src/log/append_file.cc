#include "log/append_file.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/fault.h"
#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/log/logging.h"

namespace drop {

namespace {

constexpr size_t kBufferSize = 64 * 1024;

}  // namespace

AppendFile::AppendFile(std::filesystem::path path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw RunError(path_.string() + ": cannot be written (" + std::strerror(errno) +
                   "); check the folder and its permissions");
  }
}

AppendFile::~AppendFile() {
  try {
    flush();
  } catch (const Error& error) {
    log().error("{}", error.what());
  }
  ::close(descriptor_);
}

void AppendFile::append(std::string_view bytes) {
  buffer_ += bytes;
  if (buffer_.size() >= kBufferSize) flush();
}

void AppendFile::flush() {
  if (buffer_.empty()) return;
  if (fault_at(WritePoint::kBeforeAppend)) fail_writing(path_);
  write_until(buffer_.size() / 2);
  if (fault_at(WritePoint::kHalfAppended)) fail_writing(path_);
  write_until(0);
}

void AppendFile::write_until(size_t left) {
  while (buffer_.size() > left) {
    const ssize_t written = ::write(descriptor_, buffer_.data(), buffer_.size() - left);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_writing(path_);
    }
    buffer_.erase(0, static_cast<size_t>(written));
  }
}

}  // namespace drop
