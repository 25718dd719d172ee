#include "base/fault.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "drop/base/error.h"

namespace drop {

namespace {

constexpr std::array<std::string_view, 7> kPoints = {
    "open",         "half-written",  "before-sync",  "before-rename",
    "after-rename", "before-append", "half-appended"};

struct Fault {
  std::optional<WritePoint> point;  // none = any
  int64_t count = 0;
  int error = 0;  // 0 = kill
};

[[noreturn]] void refuse(std::string_view text) {
  std::string points = "any";
  for (const std::string_view name : kPoints) points.append(", ").append(name);
  throw UsageError("DROP_FAULT (a test hook): found '" + std::string(text) +
                   "'; allowed: POINT:N[:kill|ENOSPC|EIO] with N from 1 on and POINT one of " +
                   points + "; unset it");
}

Fault parse(std::string_view text) {
  Fault fault;
  // where
  const size_t first = text.find(':');
  if (first == std::string_view::npos) refuse(text);
  const std::string_view point = text.substr(0, first);
  bool known = point == "any";
  for (size_t i = 0; i < kPoints.size(); ++i) {
    if (point != kPoints[i]) continue;
    fault.point = static_cast<WritePoint>(i);
    known = true;
  }
  // when
  const std::string_view rest = text.substr(first + 1);
  const std::string_view count = rest.substr(0, rest.find(':'));
  const auto parsed = std::from_chars(count.data(), count.data() + count.size(), fault.count);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == count.data() + count.size();
  // what
  const std::string_view what =
      count.size() < rest.size() ? rest.substr(count.size() + 1) : std::string_view("kill");
  if (what == "ENOSPC") fault.error = ENOSPC;
  if (what == "EIO") fault.error = EIO;
  if (!known || !whole || fault.count < 1 || (fault.error == 0 && what != "kill")) refuse(text);
  return fault;
}

std::optional<Fault> fault_of_environment() {
  const char* text = std::getenv("DROP_FAULT");
  if (text == nullptr) return std::nullopt;
  const Fault fault = parse(text);
  std::fprintf(stderr, "DROP_FAULT=%s is set: this process will fail there on purpose\n", text);
  return fault;
}

}  // namespace

bool fault_at(WritePoint point) {
  static const std::optional<Fault> fault = fault_of_environment();
  if (!fault || (fault->point && *fault->point != point)) return false;
  static std::atomic<int64_t> visits{0};
  if (++visits != fault->count) return false;
  if (fault->error == 0) {
    ::kill(::getpid(), SIGKILL);
    // dying may take a moment, in which nothing more must be written
    for (;;) ::pause();
  }
  errno = fault->error;
  return true;
}

}  // namespace drop
