#include "drop/log/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "drop/base/text.h"

namespace drop {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kRedrawInterval = 0.1;
constexpr int kBarWidth = 24;
constexpr int kDefaultColumns = 80;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

bool stderr_is_terminal() {
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal != nullptr && std::string_view(terminal) == "dumb";
  return !dumb && ::isatty(STDERR_FILENO) != 0;
}

int terminal_columns() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : kDefaultColumns;
}

std::string rate_text(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, rate >= 100 ? "%.0f/s" : "%.2f/s", rate);
  return text;
}

void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

struct Progress::State {
  std::string title;
  int64_t total = 0;
  bool quiet = false;
  double plain_interval_s = 0;
  bool terminal = false;
  int64_t first = 0;
  int64_t done = 0;
  std::string note;
  Clock::time_point start = Clock::now();
  Clock::time_point last_output = start;
  bool bar_shown = false;
  bool updated = false;
  bool finished = false;

  double share() const {
    if (total <= 0) return 1.0;
    return std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  }

  // "90000/200000 (45 %)  312/s"
  std::string figures(double rate) const {
    char text[96];
    // never 100 % before the end
    const int percent = static_cast<int>(share() * 100);
    std::snprintf(text, sizeof text, "%lld/%lld (%d %%)  ", static_cast<long long>(done),
                  static_cast<long long>(total), percent);
    return text + rate_text(rate);
  }

  std::string with_note(std::string line) const { return note.empty() ? line : line + "  " + note; }

  void draw_bar(double rate, double eta) {
    const int filled = static_cast<int>(share() * kBarWidth);
    const std::string bar = std::string(static_cast<size_t>(filled), '#') +
                            std::string(static_cast<size_t>(kBarWidth - filled), '-');
    std::string line =
        with_note(title + " [" + bar + "] " + figures(rate) + "  ETA " + human_duration(eta));
    // a line that wraps could not be renewed
    const auto columns = static_cast<size_t>(std::max(terminal_columns() - 1, 1));
    if (line.size() > columns) line.resize(columns);
    put("\r\033[K" + line);
    bar_shown = true;
  }

  void print_line(double rate, double eta) const {
    put(with_note(title + ": " + figures(rate) + "  ETA " + human_duration(eta)) + "\n");
  }

  void print_end(double rate) const {
    const double seconds = seconds_between(start, Clock::now());
    put((bar_shown ? "\r\033[K" : "") +
        with_note(title + ": " + figures(rate) + "  in " + human_duration(seconds)) + "\n");
  }
};

Progress::Progress(std::string title, int64_t total, bool quiet, double plain_interval_s,
                   int64_t already_done)
    : state_(std::make_unique<State>()) {
  state_->title = std::move(title);
  state_->total = total;
  state_->quiet = quiet;
  state_->plain_interval_s = plain_interval_s;
  state_->terminal = stderr_is_terminal();
  state_->first = already_done;
  state_->done = already_done;
}

Progress::~Progress() { finish(); }

void Progress::update(int64_t done, const std::string& note) {
  State& state = *state_;
  if (state.finished) return;
  state.done = done;
  state.updated = true;
  if (state.quiet) return;
  // most calls end here: drawing is rare
  const Clock::time_point now = Clock::now();
  const double interval = state.terminal ? kRedrawInterval : state.plain_interval_s;
  state.note = note;
  const bool first_bar = state.terminal && !state.bar_shown;
  if (!first_bar && seconds_between(state.last_output, now) < interval) return;
  state.last_output = now;
  if (state.terminal) {
    state.draw_bar(rate(), eta_s());
  } else {
    state.print_line(rate(), eta_s());
  }
}

void Progress::finish() {
  State& state = *state_;
  if (state.finished) return;
  state.finished = true;
  if (!state.quiet && state.updated) state.print_end(rate());
}

double Progress::rate() const {
  const double seconds = seconds_between(state_->start, Clock::now());
  return seconds > 0 ? static_cast<double>(state_->done - state_->first) / seconds : 0.0;
}

double Progress::eta_s() const {
  const auto left = static_cast<double>(std::max<int64_t>(state_->total - state_->done, 0));
  if (left == 0) return 0.0;
  const double speed = rate();
  return speed > 0 ? left / speed : std::numeric_limits<double>::infinity();
}

}  // namespace drop
