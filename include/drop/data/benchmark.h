#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace drop {

/// What `benchmark_data` runs.
struct DataBenchmarkOptions {
  std::string path;          ///< a D4RL file; empty = one of `rows` transitions is made for the run
  int64_t rows = 1'000'000;  ///< of the file that is made: Hopper's sizes, gzip level 4, float32
  int64_t batch_size = 1024;
  int64_t threads = 0;      ///< that load; 0 = all cores
  int64_t repetitions = 7;  ///< timed ones, after one that warms up
};

/// Times of loading a file and of drawing batches, each beside the machine's own peak.
struct DataBenchmark {
  std::string path;  ///< empty for a file that was made
  int64_t rows = 0;
  int64_t state_dim = 0;
  int64_t action_dim = 0;
  int64_t threads = 0;
  int64_t batch_size = 0;
  int64_t file_bytes = 0;
  int64_t inflated_bytes = 0;       ///< of the arrays that training needs, unpacked
  int64_t batch_bytes = 0;          ///< of one batch
  std::vector<double> load_s;       ///< seconds of each repetition of `read_d4rl_file`
  std::vector<double> load_bare_s;  ///< ... of reading, unpacking and hashing the same bytes alone
  std::vector<double> draw_s;       ///< seconds of one batch of `Sampler::draw_into`, one thread
  std::vector<double> copy_s;       ///< ... of one memcpy of as many bytes, from one place in order
};

/// Loads a file and draws batches from it; beside both, repetition by repetition, the least that
/// has to be done with the same bytes. load_bare_s leaves out what turns bytes into data: memory
/// for them, types, places, the check for numbers that are not finite, trajectories, and the safety
/// against damaged files; inflated_bytes / load_bare_s is the file's peak on this machine. All from
/// the page cache: a disk slower than file_bytes / load_s is the limit itself. Throws DataError for
/// a file that cannot be read, RunError when none can be made.
DataBenchmark benchmark_data(const DataBenchmarkOptions& options);

}  // namespace drop
