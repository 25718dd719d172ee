#include "drop/data/benchmark.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "drop/base/error.h"
#include "support/paths.h"

namespace drop {
namespace {

TEST(BenchmarkData, MeasuresAFileThatItMakes) {
  DataBenchmarkOptions options;
  options.rows = 20000;
  options.batch_size = 32;
  options.threads = 2;
  options.repetitions = 3;
  const DataBenchmark result = benchmark_data(options);
  EXPECT_EQ(result.path, "");
  EXPECT_EQ(result.rows, 20000);
  EXPECT_EQ(result.state_dim, 11);
  EXPECT_EQ(result.action_dim, 3);
  EXPECT_EQ(result.threads, 2);
  EXPECT_EQ(result.inflated_bytes, 20000 * (15 * 4 + 2));
  EXPECT_GT(result.file_bytes, 20000);
  EXPECT_LT(result.file_bytes, result.inflated_bytes);
  EXPECT_EQ(result.batch_bytes, 32 * (2 * 14 * 4 + 2 * 4 + 8));
  for (const auto* seconds :
       {&result.load_s, &result.load_bare_s, &result.draw_s, &result.copy_s}) {
    ASSERT_EQ(seconds->size(), 3U);
    for (const double value : *seconds) EXPECT_GT(value, 0.0);
  }
}

TEST(BenchmarkData, MeasuresAFileThatIsThere) {
  const DataBenchmark result =
      benchmark_data({.path = testing::fixture("hopper_medium-v2.hdf5"), .repetitions = 1});
  EXPECT_EQ(result.rows, 30);
  EXPECT_EQ(result.path, testing::fixture("hopper_medium-v2.hdf5"));
  EXPECT_EQ(result.inflated_bytes, 30 * (6 * 4 + 2));
  EXPECT_THROW(benchmark_data({.path = "no/such.hdf5"}), DataError);
}

}  // namespace
}  // namespace drop
