#include "drop/base/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

#include "drop/base/error.h"

namespace drop {

namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void on_stop_signal(int) {
  if (stop.exchange(true)) _exit(static_cast<int>(ExitStatus::kInterrupted));
}

}  // namespace

void install_stop_handlers() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() { return stop.load(); }

void clear_stop_request() { stop.store(false); }

}  // namespace drop
