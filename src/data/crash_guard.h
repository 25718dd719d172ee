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
/// @param path     the file that `work` reads
/// @param seconds  of processor time for the child, which may wait for as long again; 0: a minute,
///                 and one more second for each MiB of the file
void rehearse_in_child(const std::string& path, const std::function<void()>& work,
                       unsigned seconds = 0);

}  // namespace drop
