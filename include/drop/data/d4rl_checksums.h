#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace drop {

/// What makes a file the right one. Zero and empty: not known.
struct FileIdentity {
  int64_t bytes = 0;
  std::string sha256;  ///< 64 lower-case hexadecimal digits
};

/// Size and hash of a D4RL file by its name ("hopper_medium-v2.hdf5"), from the checksum tables of
/// TensorFlow Datasets (D4RL facts, section 5.5); unknown for the files that these do not list.
FileIdentity known_identity(const std::string& file_name);

/// Why a genuine file may still have another hash, as "; ..." for the end of a message: of the v2
/// locomotion files there are two uploads. Empty for other files.
std::string other_upload_remark(const std::string& file_name);

enum class FileVerdict {
  kOk,          ///< size and hash are the known ones, and the file can be read
  kUnknown,     ///< can be read; nothing is known to compare it with
  kDiffers,     ///< can be read, but size or hash is not the known one
  kUnreadable,  ///< missing, or no D4RL file
};

/// "ok", "unknown", "differs", "unreadable"
std::string to_string(FileVerdict verdict);

struct FileCheck {
  std::string path;
  FileVerdict verdict = FileVerdict::kUnreadable;
  FileIdentity found;
  FileIdentity expected;
  int64_t rows = 0;
  std::string problem;  ///< why it cannot be read
  std::string remark;   ///< of `other_upload_remark` when it differs
};

/// Compares a file with what is expected of it and looks whether it is a D4RL file. Throws nothing
/// for a bad or missing file: the verdict says so.
FileCheck check_d4rl_file(const std::string& path, const FileIdentity& expected);

/// For people, in one line.
std::string to_text(const FileCheck& check);

/// The same facts as a JSON list.
std::string to_json(std::span<const FileCheck> checks);

}  // namespace drop
