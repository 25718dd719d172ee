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
#include <ctime>
#include <filesystem>

#include "drop/base/error.h"

namespace drop {

namespace {

constexpr unsigned kLockSeconds = 2;
constexpr int kAttempts = 10;
// what ends a child, by their default actions: a handler would not end every wait
constexpr int kLockedOut = SIGALRM;
constexpr int kTooLong = SIGVTALRM;

struct Rehearsal {
  const std::function<void()>& work;
  RehearsalLimits limits = {};
  pid_t child = -1;
};

[[noreturn]] void run_child(const std::function<void()>& work, const RehearsalLimits& limits) {
  // it lives no longer than who waits for it
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // a crash is expected: no core file, no message
  const rlimit no_core{0, 0};
  // first a signal that tells why, then one that nothing withstands
  const rlimit cpu{limits.processor_s, limits.processor_s + 5};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::setrlimit(RLIMIT_CPU, &cpu);
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere >= 0) {
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
  }
  // HDF5's lock has a lock of its own, which a thread that the child lacks may have held for an
  // instant, and so for ever: this child ends, and another one is made
  sigset_t limits_signals;
  ::sigemptyset(&limits_signals);
  for (const int signal : {kLockedOut, kTooLong}) {
    ::signal(signal, SIG_DFL);
    ::sigaddset(&limits_signals, signal);
  }
  ::sigprocmask(SIG_UNBLOCK, &limits_signals, nullptr);
  ::alarm(kLockSeconds);
  ::H5open();
  ::alarm(0);
  // time spent waiting counts too: for a disk that does not answer, for whatever a file leads to
  sigevent too_long{};
  too_long.sigev_notify = SIGEV_SIGNAL;
  too_long.sigev_signo = kTooLong;
  timer_t timer{};
  itimerspec when{};
  when.it_value.tv_sec = limits.clock_s;
  if (::timer_create(CLOCK_MONOTONIC, &too_long, &timer) == 0)
    ::timer_settime(timer, 0, &when, nullptr);
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
  if (rehearsal.child == 0) run_child(rehearsal.work, rehearsal.limits);
  return 1;
}

}  // namespace

RehearsalLimits rehearsal_limits(const std::string& path) {
  // generous for any intact file, an end for an endless loop; and for a slow disk
  constexpr unsigned kLeast = 10;
  constexpr unsigned kPatience = 120;
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  const unsigned processor_s = kLeast + (error ? 0 : static_cast<unsigned>(bytes >> 20));
  return {processor_s, 2 * processor_s + kPatience};
}

void rehearse_in_child(const std::string& path, const std::function<void()>& work) {
  rehearse_in_child(path, work, rehearsal_limits(path));
}

void rehearse_in_child(const std::string& path, const std::function<void()>& work,
                       const RehearsalLimits& limits) {
  Rehearsal rehearsal{work, limits};
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
    if (!WIFSIGNALED(status) || WTERMSIG(status) != kLockedOut) break;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  if (WIFSIGNALED(status) && WTERMSIG(status) == kLockedOut) {
    throw RunError(path +
                   ": other threads use HDF5 without a pause; read one file after the other");
  }
  if (WIFSIGNALED(status) && WTERMSIG(status) == kTooLong) {
    throw DataError(path + ": reading it was given up after " + std::to_string(limits.clock_s) +
                    " s; the file is damaged, or its disk does not answer");
  }
  const std::string reason = WIFSIGNALED(status) ? ::strsignal(WTERMSIG(status)) : "memory error";
  throw DataError(path + ": reading it makes the HDF5 library fail (" + reason +
                  "); the file is damaged; fetch or make it again and compare its sha256");
}

}  // namespace drop
