#include "data/crash_guard.h"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "drop/base/error.h"

namespace drop {

namespace {

constexpr unsigned kLockSeconds = 2;
constexpr int kAttempts = 10;
constexpr rlim_t kWaitingFactor = 2;  // a slow disk may make a child wait as long as it works
constexpr int kTooLong = 99;          // a child's exit status

// seconds of processor time: generous for any intact file, an end for an endless loop
rlim_t time_limit(const std::string& path) {
  constexpr rlim_t kLeast = 60;
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  return kLeast + (error ? 0 : static_cast<rlim_t>(bytes >> 20));
}

struct Rehearsal {
  const std::function<void()>& work;
  rlim_t seconds = 0;
  pid_t child = -1;
};

[[noreturn]] void run_child(const std::function<void()>& work, rlim_t seconds) {
  // it lives no longer than who waits for it
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // a crash is expected: no core file, no message
  const rlimit no_core{0, 0};
  const rlimit cpu{seconds, seconds};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::setrlimit(RLIMIT_CPU, &cpu);
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere >= 0) {
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
  }
  // HDF5's lock has a lock of its own, which a thread that the child lacks may have held for an
  // instant, and so for ever: this child ends, and another one is made
  ::signal(SIGALRM, SIG_DFL);
  sigset_t alarm_signal;
  ::sigemptyset(&alarm_signal);
  ::sigaddset(&alarm_signal, SIGALRM);
  ::sigprocmask(SIG_UNBLOCK, &alarm_signal, nullptr);
  ::alarm(kLockSeconds);
  ::H5open();
  // time spent waiting counts too: for a disk that does not answer, for whatever a file leads to
  ::signal(SIGALRM, [](int) { ::_exit(kTooLong); });
  ::alarm(static_cast<unsigned>(kWaitingFactor * seconds));
  try {
    work();
  } catch (...) {
    // an orderly refusal is no crash
  }
  ::_exit(0);
}

// called by HDF5, so while this thread holds HDF5's lock: no other thread, which the child lacks,
// can have kept that
herr_t fork_here(hid_t, const char*, void* data) {
  auto& rehearsal = *static_cast<Rehearsal*>(data);
  rehearsal.child = ::fork();
  if (rehearsal.child == 0) run_child(rehearsal.work, rehearsal.seconds);
  return 1;
}

}  // namespace

void rehearse_in_child(const std::string& path, const std::function<void()>& work,
                       unsigned seconds) {
  Rehearsal rehearsal{work, seconds > 0 ? seconds : time_limit(path)};
  int status = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    H5Piterate(H5P_FILE_ACCESS_DEFAULT, nullptr, fork_here, &rehearsal);
    if (rehearsal.child < 0) {
      throw RunError(path + ": no process can be started to try it out first (" +
                     std::strerror(errno) + "); free memory, or raise the limit of processes");
    }
    while (::waitpid(rehearsal.child, &status, 0) < 0) {
      if (errno == EINTR) continue;
      // not tried is not safe
      throw RunError(path + ": what became of the process that tried it out is not known (" +
                     std::strerror(errno) + "); this program must not ignore SIGCHLD");
    }
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM) break;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    throw RunError(path +
                   ": other threads use HDF5 without a pause; read one file after the other");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == kTooLong) {
    throw DataError(path + ": reading it was given up after " +
                    std::to_string(kWaitingFactor * rehearsal.seconds) +
                    " s; the file is damaged, or its disk does not answer");
  }
  const std::string reason = WIFSIGNALED(status) ? ::strsignal(WTERMSIG(status)) : "memory error";
  throw DataError(path + ": reading it makes the HDF5 library fail (" + reason +
                  "); the file is damaged; fetch or make it again and compare its sha256");
}

}  // namespace drop
