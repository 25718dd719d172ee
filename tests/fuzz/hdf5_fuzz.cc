// Our readers of HDF5 files, by the same calls as the programs make.
//
// HDF5 itself crashes on some damaged files; that is why each of our readers first reads in a child
// process (src/data/crash_guard.h). The guard stays in place here: the child may die, which must
// become a DataError. What is tried is this process, where our own code finds, unpacks and converts
// the values: it must not crash, hang, or take memory that the file's size does not bear out.

#include <hdf5.h>
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>

#include <algorithm>
#include <csignal>

#include "drop/base/error.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/hdf5.h"
#include "fuzz/fuzz_support.h"

namespace {

// nobody writes a child's death down as a finding, or prints its stack
void let_child_die() {
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE}) std::signal(signal, SIG_DFL);
  __sanitizer_set_death_callback(nullptr);
}

void require_sound(const drop::TrajectoryDataset& data) {
  const auto rows = static_cast<size_t>(data.rows);
  const auto is_flag = [](uint8_t flag) { return flag <= 1; };
  const bool sound = rows > 0 &&
                     data.observations.size() == rows * static_cast<size_t>(data.state_dim) &&
                     data.actions.size() == rows * static_cast<size_t>(data.action_dim) &&
                     data.rewards.size() == rows && data.terminals.size() == rows &&
                     data.timeouts.size() == rows &&
                     std::all_of(data.terminals.begin(), data.terminals.end(), is_flag) &&
                     std::all_of(data.timeouts.begin(), data.timeouts.end(), is_flag) &&
                     drop::find_non_finite_rows(data).count == 0;
  if (!sound) drop::fuzz::report_finding("data that are not sound were accepted");
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  H5open();
  return ::pthread_atfork(nullptr, nullptr, let_child_die);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using drop::DataError;
  using drop::fuzz::expect_read_or_refused;
  const drop::fuzz::MemoryFile file(data, size);
  const std::string& path = file.path();
  drop::ReadOptions options;
  options.threads = 1;
  expect_read_or_refused<DataError>(path, [&] {
    require_sound(drop::read_d4rl_file({path, "fuzz", drop::Family::kLocomotion, ""}, options));
  });
  expect_read_or_refused<DataError>(path, [&] {
    const std::vector<std::string> names = drop::hdf5_array_names(path);
    if (!names.empty()) drop::read_hdf5_array(path, names[size % names.size()]);
  });
  expect_read_or_refused<DataError>(path, [&] { drop::read_hdf5_text_attribute(path, "task"); });
  return 0;
}
