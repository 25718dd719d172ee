// Our readers of HDF5 files, by the same calls as the programs make.
//
// HDF5 itself crashes on some damaged files; that is why each of our readers first reads in a child
// process (src/data/crash_guard.h). The guard stays in place here: a child may die in HDF5, which
// must become a DataError. Where it dies in our own code, that is a finding, as it is in this
// process: our code must not crash, hang, or take memory that the file's size does not bear out.

#include <dlfcn.h>
#include <execinfo.h>
#include <hdf5.h>
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string_view>

#include "drop/base/error.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/hdf5.h"
#include "fuzz/fuzz_support.h"

namespace {

// where a child died in our code; memory that it shares with this process
char* place_of_death = nullptr;
constexpr size_t kPlaceSize = 4096;

// a dying child: the innermost frame that is HDF5's or ours tells whose fault it is. Those of the
// sanitizers and of the C library are neither's
void tell_whose_fault() {
  constexpr int kFrames = 64;
  void* frames[kFrames];
  const int count = ::backtrace(frames, kFrames);
  for (int i = 0; i < count; ++i) {
    Dl_info module;
    if (::dladdr(frames[i], &module) != 0 && module.dli_fname != nullptr &&
        std::string_view(module.dli_fname).find("libhdf5") != std::string_view::npos)
      return;
    char name[kPlaceSize] = "";
    __sanitizer_symbolize_pc(static_cast<char*>(frames[i]) - 1, "%f %S", name, sizeof name);
    if (std::string_view(name).find("drop::") == std::string_view::npos) continue;
    std::snprintf(place_of_death, kPlaceSize, "%s", name);
    return;
  }
}

void end_child(int) {
  tell_whose_fault();
  ::_exit(1);
}

// the fuzzer itself does not write a child's death down, or print its stack
void watch_child() {
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGXCPU})
    std::signal(signal, end_child);
  __sanitizer_set_death_callback(tell_whose_fault);
}

template <class Read>
bool expect_read_or_refused(const std::string& path, const Read& read) {
  const bool accepted = drop::fuzz::expect_read_or_refused<drop::DataError>(path, read);
  if (*place_of_death != '\0')
    drop::fuzz::report_finding(std::string("a child died in ") + place_of_death);
  return accepted;
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
  place_of_death = static_cast<char*>(
      ::mmap(nullptr, kPlaceSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (place_of_death == MAP_FAILED) std::abort();
  return ::pthread_atfork(nullptr, nullptr, watch_child);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const drop::fuzz::MemoryFile file(data, size);
  const std::string& path = file.path();
  drop::ReadOptions options;
  options.threads = 1;
  drop::fuzz::tally.accepted += expect_read_or_refused(path, [&] {
    require_sound(drop::read_d4rl_file({path, "fuzz", drop::Family::kLocomotion, ""}, options));
  });
  // each read makes a child, which takes longer than all the rest: one of the others every time
  const uint32_t sum = std::accumulate(data, data + size, uint32_t{0});
  if (sum % 2 == 0) {
    expect_read_or_refused(path, [&] { drop::read_hdf5_text_attribute(path, "task"); });
    return 0;
  }
  expect_read_or_refused(path, [&] {
    const std::vector<std::string> names = drop::hdf5_array_names(path);
    if (!names.empty()) drop::read_hdf5_array(path, names[sum / 2 % names.size()]);
  });
  return 0;
}
