#include "drop/base/signals.h"

#include <gtest/gtest.h>

#include <csignal>

namespace drop {
namespace {

// each test leaves the process as it was
class Signals : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    clear_stop_request();
    install_stop_handlers();
  }
  void TearDown() override {
    clear_stop_request();
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
  }
};

TEST_F(Signals, TheFirstOneOnlySetsAFlag) {
  EXPECT_FALSE(stop_requested());
  std::raise(SIGTERM);
  EXPECT_TRUE(stop_requested());
  EXPECT_TRUE(stop_requested());
  clear_stop_request();
  EXPECT_FALSE(stop_requested());
  std::raise(SIGINT);
  EXPECT_TRUE(stop_requested());
}

TEST_F(Signals, TheSecondOneEndsTheProcessWith130) {
  for (const int first : {SIGINT, SIGTERM}) {
    for (const int second : {SIGINT, SIGTERM}) {
      EXPECT_EXIT(
          {
            std::raise(first);
            if (stop_requested()) std::raise(second);
          },
          ::testing::ExitedWithCode(130), "");
    }
  }
}

TEST_F(Signals, OthersEndTheProcessAsUsual) {
  EXPECT_EXIT(std::raise(SIGHUP), ::testing::KilledBySignal(SIGHUP), "");
}

}  // namespace
}  // namespace drop
