#pragma once

#include <stdexcept>
#include <string>

namespace drop {

/// Exit status of every program of this project.
enum class ExitStatus : int {
  kDone = 0,          ///< the work is done
  kFailed = 1,        ///< failed at run time
  kUsage = 2,         ///< wrong usage or configuration
  kData = 3,          ///< bad, missing or unreadable data, states or checkpoint
  kInterrupted = 130  ///< stopped by a signal after saving
};

/// Base of all errors that a user can cause or cure. The message is one line that names the file,
/// the line or key, what was found, what is allowed and the cure; control characters, which names
/// and texts out of files may hold, become blanks.
class Error : public std::runtime_error {
 public:
  Error(ExitStatus status, const std::string& message)
      : std::runtime_error(one_line(message)), status_(status) {}
  ExitStatus status() const noexcept { return status_; }

 private:
  static std::string one_line(std::string text) {
    for (char& letter : text) {
      if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) letter = ' ';
    }
    return text;
  }

  ExitStatus status_;
};

/// Wrong command line or configuration (exit status 2).
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(ExitStatus::kUsage, message) {}
};

/// Bad, missing or unreadable data file, states or checkpoint (exit status 3).
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(ExitStatus::kData, message) {}
};

/// The work itself failed: a disk is full, a loss is not finite (exit status 1).
class RunError : public Error {
 public:
  explicit RunError(const std::string& message) : Error(ExitStatus::kFailed, message) {}
};

/// A signal arrived; everything worth keeping has been saved (exit status 130).
class Interrupted : public Error {
 public:
  explicit Interrupted(const std::string& message) : Error(ExitStatus::kInterrupted, message) {}
};

}  // namespace drop
