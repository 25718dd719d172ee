#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace drop::testing {

/// How a program ended and what it said.
struct ProcessResult {
  int status = -1;  ///< exit status; -1 when a signal ended it
  int signal = 0;   ///< the signal that ended it, or 0
  bool timed_out = false;
  std::string out;
  std::string err;
};

struct ProcessOptions {
  std::string folder;                    ///< working folder; empty = the test's own
  std::vector<std::string> environment;  ///< "NAME=value", on top of the test's own
  bool clear_environment = false;        ///< start from an empty environment instead
  std::chrono::seconds timeout{120};     ///< then it is killed
};

/// A running program, started without a shell. Standard input is empty; the outputs go to memory,
/// so that a full pipe never blocks it. It dies with this object and with the test.
class Process {
 public:
  explicit Process(const std::vector<std::string>& arguments, ProcessOptions options = {})
      : options_(std::move(options)), out_(memory_file()), err_(memory_file()) {
    // everything that allocates happens before the fork
    std::vector<char*> argument_pointers;
    for (const std::string& argument : arguments) {
      argument_pointers.push_back(const_cast<char*>(argument.c_str()));
    }
    argument_pointers.push_back(nullptr);
    const pid_t parent = ::getpid();
    child_ = ::fork();
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(kNotStarted);
      if (!options_.folder.empty() && ::chdir(options_.folder.c_str()) != 0) ::_exit(kNotStarted);
      if (options_.clear_environment) ::clearenv();
      for (std::string& variable : options_.environment) ::putenv(variable.data());
      ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
      ::dup2(out_, STDOUT_FILENO);
      ::dup2(err_, STDERR_FILENO);
      ::execv(argument_pointers[0], argument_pointers.data());
      ::_exit(kNotStarted);
    }
  }

  ~Process() {
    if (running()) {
      send(SIGKILL);
      wait();
    }
    ::close(out_);
    ::close(err_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  bool running() {
    if (child_ > 0 && ::waitpid(child_, &wait_status_, WNOHANG) == child_) child_ = -1;
    return child_ > 0;
  }

  void send(int signal) {
    if (child_ > 0) ::kill(child_, signal);
  }

  /// Waits until `condition` holds; false when the program ends, or the time is up, before that.
  bool wait_until(const std::function<bool()>& condition) {
    while (!condition()) {
      if (!running() || late()) return condition();
      nap();
    }
    return true;
  }

  /// Waits for the end, at most for the time given in the options.
  ProcessResult wait() {
    ProcessResult result;
    while (running()) {
      if (late() && !result.timed_out) {
        result.timed_out = true;
        send(SIGKILL);
      }
      nap();
    }
    if (WIFEXITED(wait_status_)) result.status = WEXITSTATUS(wait_status_);
    if (WIFSIGNALED(wait_status_)) result.signal = WTERMSIG(wait_status_);
    result.out = content_of(out_);
    result.err = content_of(err_);
    return result;
  }

 private:
  static constexpr int kNotStarted = 127;

  static int memory_file() { return ::memfd_create("output", MFD_CLOEXEC); }
  static void nap() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }
  bool late() const { return std::chrono::steady_clock::now() - start_ > options_.timeout; }

  static std::string content_of(int file) {
    std::string content(static_cast<size_t>(::lseek(file, 0, SEEK_END)), '\0');
    const ssize_t got = ::pread(file, content.data(), content.size(), 0);
    content.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return content;
  }

  ProcessOptions options_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int out_;
  int err_;
  pid_t child_ = -1;
  int wait_status_ = 0;
};

/// Runs a program to its end.
inline ProcessResult run_process(const std::vector<std::string>& arguments,
                                 ProcessOptions options = {}) {
  return Process(arguments, std::move(options)).wait();
}

}  // namespace drop::testing
