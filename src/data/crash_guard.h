#pragma once

#include <functional>
#include <string>

namespace drop {

/// Runs `work` in a child process first, and throws DataError when the child does not live through
/// it: HDF5 1.10 crashes on some damaged files (8 of 20,000 random changes of a small file), or
/// could loop or wait, which no check from outside can foresee. What `work` itself throws is left
/// to the caller's own run of it. What is read without HDF5 need not be rehearsed. The child is a
/// copy of this process, prints nothing and changes nothing here. Throws RunError when no child can
/// be made or watched, and when other threads do not leave HDF5 for an instant.
/// @param path  the file that `work` reads
void rehearse_in_child(const std::string& path, const std::function<void()>& work);

/// How long a child may take.
struct RehearsalLimits {
  unsigned processor_s = 0;  ///< at work
  unsigned clock_s = 0;      ///< altogether, at work or waiting
};

/// For a file of this size: 10 s and one for each MiB of it; twice that and two minutes.
RehearsalLimits rehearsal_limits(const std::string& path);

/// The same within other limits.
void rehearse_in_child(const std::string& path, const std::function<void()>& work,
                       const RehearsalLimits& limits);

}  // namespace drop
