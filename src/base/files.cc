#include "drop/base/files.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "base/fault.h"
#include "drop/base/error.h"
#include "drop/base/text.h"

namespace drop {

namespace {

std::string reason() { return std::strerror(errno); }

// a file descriptor that closes itself
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }
  int close() {
    const int result = ::close(value_);
    value_ = -1;
    return result;
  }

 private:
  int value_;
};

constexpr std::string_view kTemporary = ".tmp.";

// A new file TARGET.tmp.PID. What is there already is another's: on a shared file system processes
// of two machines, or of two containers, may bear the same number. Then it is TARGET.tmp.PID.N.
std::pair<std::filesystem::path, int> open_temporary(const std::filesystem::path& target) {
  constexpr int kMostNames = 1000;
  const std::string first = target.string() + std::string(kTemporary) + std::to_string(::getpid());
  std::string name = first;
  int file = -1;
  for (int n = 1; n <= kMostNames; ++n) {
    file = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file >= 0 || errno != EEXIST) break;
    name = first + "." + std::to_string(n);
  }
  return {name, file};
}

// the process that a temporary file belongs to; 0 for another file
pid_t owner_of_temporary(const std::string& name) {
  const size_t found = name.rfind(kTemporary);
  if (found == std::string::npos) return 0;
  const char* const end = name.data() + name.size();
  pid_t owner = 0;
  auto parsed = std::from_chars(name.data() + found + kTemporary.size(), end, owner);
  int number = 0;
  if (parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == '.')
    parsed = std::from_chars(parsed.ptr + 1, end, number);
  return parsed.ec == std::errc() && parsed.ptr == end && owner > 0 ? owner : 0;
}

void write_all(int descriptor, std::span<const std::byte> content,
               const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_writing(path);
    }
    content = content.subspan(static_cast<size_t>(written));
  }
}

// the end of a chain of links, which need not be there yet; nothing for a circle
std::optional<std::filesystem::path> end_of_links(std::filesystem::path path) {
  constexpr int kMostLinks = 40;
  std::error_code ignored;
  for (int links = 0; std::filesystem::is_symlink(path, ignored); ++links) {
    if (links == kMostLinks) return std::nullopt;
    path = path.parent_path() / std::filesystem::read_symlink(path, ignored);
  }
  return path;
}

}  // namespace

void fail_writing(const std::filesystem::path& path) {
  throw RunError(path.string() + ": writing failed (" + reason() +
                 "); free space or choose another --out");
}

std::filesystem::path output_path(const std::filesystem::path& path) {
  const std::optional<std::filesystem::path> end = end_of_links(path);
  if (!end) throw RunError(path.string() + ": cannot be written (links in a circle)");
  const std::filesystem::path& target = *end;
  std::error_code ignored;
  const auto status = std::filesystem::status(target, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw RunError(path.string() + ": cannot be written (is a " +
                   (std::filesystem::is_directory(status) ? "folder" : "device or pipe") +
                   "); choose another path");
  }
  return target;
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content) {
  const std::filesystem::path target = output_path(path);
  const std::filesystem::path folder = target.has_parent_path() ? target.parent_path() : ".";
  const bool fails = fault_at(WritePoint::kOpen);
  const auto [temporary, descriptor] =
      fails ? std::pair(std::filesystem::path(), -1) : open_temporary(target);
  Descriptor file(descriptor);
  if (file.get() < 0) {
    throw RunError(target.string() + ": cannot be written (" + reason() +
                   "); check the folder, its permissions and free space");
  }
  try {
    // the new content, safe on disk under a temporary name
    const size_t half = content.size() / 2;
    write_all(file.get(), content.first(half), target);
    if (fault_at(WritePoint::kHalfWritten)) fail_writing(target);
    write_all(file.get(), content.subspan(half), target);
    if (fault_at(WritePoint::kBeforeSync) || ::fsync(file.get()) != 0 || file.close() != 0)
      fail_writing(target);
    // its final name, in one step
    if (fault_at(WritePoint::kBeforeRename) || ::rename(temporary.c_str(), target.c_str()) != 0) {
      throw RunError(target.string() + ": cannot be replaced (" + reason() +
                     "); check the folder, or choose another");
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  // the name itself, safe on disk; some file systems cannot sync a folder, which loses nothing here
  if (fault_at(WritePoint::kAfterRename)) return;
  Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) ::fsync(directory.get());
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  write_file_atomically(path, std::as_bytes(std::span(content)));
}

void require_writable(const std::filesystem::path& path) {
  const auto [temporary, descriptor] = open_temporary(output_path(path));
  const Descriptor file(descriptor);
  if (file.get() < 0) {
    throw RunError(path.string() + ": cannot be written (" + reason() + "); choose another path");
  }
  ::unlink(temporary.c_str());
}

void require_output(const std::string& output, const std::vector<std::filesystem::path>& others) {
  if (output.empty() || output == "-") return;
  // what is not there yet has nothing but its name, which links and `./` may spell otherwise
  const auto place_of = [](const std::filesystem::path& path) {
    std::error_code ignored;
    const auto target = end_of_links(std::filesystem::absolute(path, ignored));
    return std::filesystem::weakly_canonical(target.value_or(path), ignored);
  };
  const std::filesystem::path place = place_of(output);
  for (const std::filesystem::path& other : others) {
    std::error_code missing;
    if (std::filesystem::equivalent(output, other, missing) || place == place_of(other)) {
      throw UsageError(output + ": found as output what is already " + other.string() +
                       "; allowed: a file of its own; choose another name");
    }
  }
  require_writable(output);
}

void remove_leftovers(const std::filesystem::path& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const pid_t owner = owner_of_temporary(entry.path().filename().string());
    // another process that is there may still be writing; what bears our own number (in containers
    // numbers come again) is old, for nobody calls this while he writes there
    if (owner == 0) continue;
    const bool gone = owner == ::getpid() || (::kill(owner, 0) != 0 && errno == ESRCH);
    if (gone) std::filesystem::remove(entry.path(), ignored);
  }
}

std::vector<std::byte> read_file(const std::filesystem::path& path) {
  // a pipe must not make us wait for somebody who writes
  Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (file.get() < 0) throw DataError(path.string() + ": cannot be opened (" + reason() + ")");
  // the opened file's own size: the name may mean another file by now
  struct stat status {};
  if (::fstat(file.get(), &status) != 0)
    throw DataError(path.string() + ": has no size (" + reason() + ")");
  if (!S_ISREG(status.st_mode)) throw DataError(path.string() + ": is not a file");
  // a file of holes costs its maker nothing; ours are read whole and then taken apart, so that
  // twice their size must fit
  const double memory =
      static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  if (static_cast<double>(status.st_size) > memory / 2) {
    throw DataError(path.string() + ": found " + human_bytes(static_cast<double>(status.st_size)) +
                    ", more than half of this machine's memory (" + human_bytes(memory) +
                    "); it is no file of ours, or one for a larger machine");
  }
  std::vector<std::byte> content(static_cast<size_t>(status.st_size));
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::read(file.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw DataError(path.string() + ": reading failed (" + reason() + ")");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  content.resize(done);
  return content;
}

std::string read_text_file(const std::filesystem::path& path) {
  const std::vector<std::byte> content = read_file(path);
  return {reinterpret_cast<const char*>(content.data()), content.size()};
}

void create_folders(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error)
    throw RunError(path.string() + ": this folder cannot be created (" + error.message() + ")");
}

FolderLock::FolderLock(const std::filesystem::path& folder) {
  const std::string path = (folder / "run.lock").string();
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw RunError(path + ": cannot be opened (" + reason() +
                   "); check the folder's permissions or choose another --out");
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  const bool taken = error == EWOULDBLOCK;
  // some shared file systems have no locks: no reason to refuse them (drop_doctor tells)
  held_ = false;
  if (!taken && (error == ENOLCK || error == ENOSYS || error == ENOTSUP)) return;
  ::close(descriptor_);
  if (!taken)
    throw RunError(path + ": cannot be locked (" + std::strerror(error) +
                   "); use a folder on another file system");
  throw UsageError(
      folder.string() +
      ": another process is training in this run folder; wait for it or choose another --out");
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace drop
