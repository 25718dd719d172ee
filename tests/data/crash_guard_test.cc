#include "data/crash_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include "drop/base/error.h"

namespace drop {
namespace {

TEST(RehearseInChild, PassesWhatLivesAndWhatThrows) {
  int runs = 0;
  EXPECT_NO_THROW(rehearse_in_child("x", [&] { ++runs; }));
  EXPECT_NO_THROW(rehearse_in_child("x", [] { throw std::runtime_error("refused"); }));
  EXPECT_EQ(runs, 0);
}

TEST(RehearseInChild, ACrashIsAnErrorThatNamesTheFile) {
  try {
    rehearse_in_child("some.hdf5", [] { std::raise(SIGSEGV); });
    FAIL() << "nothing was thrown";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("some.hdf5: reading it makes the HDF5 library"));
  }
}

TEST(RehearseInChild, WhatCannotBeTriedIsNotTakenForGood) {
  const auto before = std::signal(SIGCHLD, SIG_IGN);
  try {
    rehearse_in_child("some.hdf5", [] { std::raise(SIGSEGV); });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const RunError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("some.hdf5"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("SIGCHLD"));
  }
  std::signal(SIGCHLD, before);
}

TEST(RehearseInChild, WaitingAndWorkingForEverEnd) {
  const auto message_of = [](const std::function<void()>& work, const RehearsalLimits& limits) {
    try {
      rehearse_in_child("some.hdf5", work, limits);
    } catch (const DataError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(message_of([] { std::this_thread::sleep_for(std::chrono::hours(1)); }, {60, 1}),
              ::testing::HasSubstr("some.hdf5: reading it was given up after 1 s"));
  const auto work_for_ever = [] {
    const std::atomic<bool> done{false};
    while (!done) {
    }
  };
  EXPECT_THAT(message_of(work_for_ever, {1, 60}),
              ::testing::HasSubstr("some.hdf5: reading it makes the HDF5 library fail (CPU time"));
}

// HDF5 calls this while it holds its lock
herr_t dwell(hid_t, const char*, void*) {
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  return 1;
}

TEST(RehearseInChild, DoesNotWaitForAThreadThatTheChildLacks) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) H5Piterate(H5P_FILE_ACCESS_DEFAULT, nullptr, dwell, nullptr);
  });
  for (int i = 0; i < 20; ++i) {
    rehearse_in_child("x", [] {
      const hid_t list = H5Pcreate(H5P_FILE_ACCESS);
      H5Pclose(list);
    });
  }
  stop = true;
  busy.join();
}

}  // namespace
}  // namespace drop
