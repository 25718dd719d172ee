#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace drop {

/// Something about this machine or its settings that slows a run down or puts it at risk, and what
/// to do about it; each a part of a line.
struct Finding {
  std::string what;
  std::string cure;
};

/// Where Linux keeps what limits a process; tests have folders of their own.
struct ControlGroups {
  std::filesystem::path root = "/sys/fs/cgroup";
  std::filesystem::path membership = "/proc/self/cgroup";
};

/// CPUs that the quotas of this process's control groups leave it, e.g. 1.5; infinity without one.
/// Versions 1 and 2.
double cpu_quota(const ControlGroups& groups = {});

/// Bytes that those groups let it have altogether; infinity without a limit.
double memory_limit(const ControlGroups& groups = {});

/// Bytes that this process can still take: the machine's free memory, and what it has not yet taken
/// itself of memory_limit.
double free_memory();

/// @param load   threads that want to run on the whole machine (load average)
/// @param cores  of the whole machine
std::optional<Finding> load_finding(double load, int64_t cores);

/// @param threads  that this process computes with
/// @param quota    of cpu_quota: more threads than that are stopped again and again
std::optional<Finding> threads_finding(int64_t threads, double quota);

/// @param bytes  free_memory
std::optional<Finding> memory_finding(double bytes);

/// This machine as it is now: cores that others keep busy, too little memory.
std::vector<Finding> machine_findings();

/// A folder that runs are to be written into: whether files can be made, synchronised, replaced in
/// one step and locked there, and how much room there is. Leaves nothing behind.
std::vector<Finding> folder_findings(const std::filesystem::path& folder);

}  // namespace drop
