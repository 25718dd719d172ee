#include "drop/log/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

namespace drop {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;

std::string stderr_of(const std::function<void()>& action) {
  ::testing::internal::CaptureStderr();
  action();
  return ::testing::internal::GetCapturedStderr();
}

void sleep_ms(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

// runs the action with a terminal of that width as standard error; empty when there is none
std::string terminal_output_of(unsigned short columns, const std::function<void()>& action) {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) return "";
  const int terminal = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  if (terminal < 0) return "";
  winsize size{};
  size.ws_col = columns;
  size.ws_row = 24;
  ::ioctl(terminal, TIOCSWINSZ, &size);
  // a mark tells the reader where the output ends
  std::string output;
  const std::string mark = "<end>";
  std::thread reader([&] {
    char chunk[4096];
    while (output.find(mark) == std::string::npos) {
      const ssize_t got = ::read(master, chunk, sizeof chunk);
      if (got <= 0) break;
      output.append(chunk, static_cast<size_t>(got));
    }
  });
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(terminal, STDERR_FILENO);
  action();
  ::dup2(saved, STDERR_FILENO);
  const ssize_t written = ::write(terminal, mark.data(), mark.size());
  EXPECT_EQ(written, static_cast<ssize_t>(mark.size()));
  reader.join();
  ::close(saved);
  ::close(terminal);
  ::close(master);
  return output.substr(0, output.find(mark));
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Progress, WithoutATerminalThereIsOneLineAtTheEnd) {
  const std::string text = stderr_of([] {
    Progress progress("train", 1000, false);
    for (int64_t i = 1; i <= 1000; ++i) progress.update(i, "td 0.5");
  });
  EXPECT_THAT(text, MatchesRegex("train: 1000/1000 \\(100 %\\)  [0-9.]+/s  in 0s  td 0.5\n"));
}

TEST(Progress, WithoutATerminalLinesComeNowAndThen) {
  const std::string text = stderr_of([] {
    Progress progress("train", 100, false, 0.05);
    for (int64_t i = 1; i <= 12; ++i) {
      progress.update(i);
      sleep_ms(10);
    }
  });
  // at least one before the last, and not one for each update
  EXPECT_GE(count(text, "\n"), 2u) << text;
  EXPECT_LE(count(text, "\n"), 9u) << text;
  EXPECT_THAT(text, HasSubstr("  ETA "));
  EXPECT_THAT(text, Not(HasSubstr("\r")));
  EXPECT_THAT(text, Not(HasSubstr("\033")));
}

TEST(Progress, QuietIsSilent) {
  EXPECT_THAT(stderr_of([] {
                Progress progress("train", 10, true, 0.0);
                progress.update(5);
                progress.finish();
              }),
              IsEmpty());
}

TEST(Progress, AJobThatNeverBeganSaysNothing) {
  EXPECT_THAT(stderr_of([] { Progress progress("train", 10, false); }), IsEmpty());
}

TEST(Progress, FinishSaysHowFarItCameAndOnlyOnce) {
  const std::string text = stderr_of([] {
    Progress progress("train", 1000, false);
    progress.update(999);
    progress.finish();
    progress.update(1000);
    progress.finish();
  });
  EXPECT_THAT(text, ::testing::StartsWith("train: 999/1000 (99 %)"));
  EXPECT_EQ(count(text, "\n"), 1u);
}

TEST(Progress, TheRateCountsOnlyOwnSteps) {
  Progress fresh("a", 100, true);
  Progress resumed("b", 100, true, 30.0, 90);
  EXPECT_EQ(fresh.rate(), 0.0);
  EXPECT_TRUE(std::isinf(fresh.eta_s()));
  sleep_ms(20);
  fresh.update(95);
  resumed.update(95);
  EXPECT_GT(resumed.rate(), 0.0);
  EXPECT_LT(resumed.rate(), 5 / 0.02 + 1);
  EXPECT_GT(fresh.rate(), 10 * resumed.rate());
  EXPECT_NEAR(resumed.eta_s() * resumed.rate(), 5.0, 0.5);
  resumed.update(100);
  EXPECT_EQ(resumed.eta_s(), 0.0);
}

TEST(Progress, OddTotalsDoNoHarm) {
  EXPECT_THAT(stderr_of([] {
                Progress progress("x", 0, false);
                progress.update(0);
              }),
              HasSubstr("0/0"));
  EXPECT_THAT(stderr_of([] {
                Progress progress("x", 10, false);
                progress.update(25);
              }),
              HasSubstr("25/10 (100 %)"));
}

TEST(Progress, ATerminalGetsABarThatRenewsItself) {
  ::setenv("TERM", "xterm", 1);
  const std::string text = terminal_output_of(200, [] {
    Progress progress("train", 1000, false);
    for (int64_t i = 1; i <= 500; ++i) {
      progress.update(i, "td 0.5");
      if (i % 100 == 0) sleep_ms(50);
    }
  });
  if (text.empty()) GTEST_SKIP() << "no pseudo-terminal can be opened here";
  // the first bar at once, then at most ten in a second, and the line of the end
  EXPECT_THAT(text, ::testing::StartsWith("\r\033[Ktrain [------------------------] 1/1000 (0 %)"));
  EXPECT_LE(count(text, "\r\033[K"), 12u);
  EXPECT_GE(count(text, "\r\033[K"), 3u);
  EXPECT_THAT(text, HasSubstr("[#"));
  EXPECT_THAT(text, HasSubstr("td 0.5"));
  EXPECT_THAT(text, MatchesRegex(".*\r\033\\[Ktrain: 500/1000 \\(50 %\\)  .*/s  in .*\n"));
  EXPECT_EQ(count(text, "\n"), 1u);
}

TEST(Progress, ANarrowTerminalIsNeverOverrun) {
  ::setenv("TERM", "xterm", 1);
  const std::string text = terminal_output_of(30, [] {
    Progress progress("train", 1000, false);
    progress.update(1, std::string(300, 'x'));
  });
  if (text.empty()) GTEST_SKIP() << "no pseudo-terminal can be opened here";
  const std::string bar = text.substr(4, text.find('\r', 4) - 4);
  EXPECT_EQ(bar.size(), 29u) << bar;
}

}  // namespace
}  // namespace drop
