#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace drop {

/// Writes a file so that a reader, or a crash, sees either the old content or the whole new one:
/// temporary file of its own beside the target, fsync, rename, fsync of the folder. Throws RunError
/// naming the file and the reason (disk full, no permission); the old file then still stands.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content);
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// Throws the RunError of a failed write, with errno's reason.
[[noreturn]] void fail_writing(const std::filesystem::path& path);

/// Where a written file goes: a symbolic link stands for what it points to. Throws RunError for a
/// folder, a device, a pipe: only files are replaced.
std::filesystem::path output_path(const std::filesystem::path& path);

/// Throws RunError when `write_file_atomically` could not write this file: to be asked before long
/// work whose result goes there.
void require_writable(const std::filesystem::path& path);

/// Asked before the work whose result goes to `output`: throws UsageError when that is one of
/// `others` (the same file under whatever name; inputs, other outputs), which would be lost, and
/// RunError as `require_writable`. Nothing is asked of "" (no output) and "-" (standard output).
void require_output(const std::string& output, const std::vector<std::filesystem::path>& others);

/// Removes from a folder, not from those below, the temporary files of `write_file_atomically`
/// whose process is gone (killed on this machine). Not to be called while this process writes
/// there.
void remove_leftovers(const std::filesystem::path& folder);

/// The whole content of a file; throws DataError when it is missing or cannot be read.
std::vector<std::byte> read_file(const std::filesystem::path& path);
std::string read_text_file(const std::filesystem::path& path);

/// Creates a folder and its parents; throws RunError naming the folder and the reason.
void create_folders(const std::filesystem::path& path);

/// An exclusive lock on a folder (flock on `FOLDER/run.lock`): it dies with its process, however
/// that ends. Throws UsageError when another process holds it, RunError when the file cannot be
/// made. On a file system without locks it holds nothing.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  bool held() const { return held_; }

 private:
  int descriptor_ = -1;
  bool held_ = true;
};

}  // namespace drop
