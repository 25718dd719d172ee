#include "drop/nn/runtime.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>

namespace drop {
namespace {

// at::parallel_for is a template that falls back to a plain loop where our code is compiled without
// the threads that LibTorch has
TEST(Runtime, OurLoopsRunOnAsManyThreadsAsLibTorchs) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  std::array<int, 3> threads = {-1, -1, -1};
  at::parallel_for(0, 3, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) threads[static_cast<size_t>(i)] = at::get_thread_num();
  });
  at::set_num_threads(before);
  EXPECT_EQ(threads, (std::array<int, 3>{0, 1, 2}));
}

}  // namespace
}  // namespace drop
