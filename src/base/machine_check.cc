#include "drop/base/machine_check.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>

#include "drop/base/text.h"

namespace drop {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLittleMemory = 2.0 * (1 << 30);
constexpr double kLittleRoom = 1.0 * (1 << 30);

// the process's group of a controller and the groups around it, innermost first. Inside a container
// some may not be seen: the outermost, its root, is
struct GroupFolders {
  bool version2 = false;
  std::vector<std::filesystem::path> folders;
};

std::vector<GroupFolders> folders_of(const ControlGroups& groups, const std::string& controller) {
  std::vector<GroupFolders> found;
  std::ifstream file(groups.membership);
  // number:controllers:/path, without controllers in version 2
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::vector<std::string> names = split(line.substr(first + 1, second - first - 1));
    GroupFolders group;
    group.version2 = names.empty();
    if (!group.version2 && std::find(names.begin(), names.end(), controller) == names.end())
      continue;
    const std::filesystem::path top = group.version2 ? groups.root : groups.root / controller;
    std::filesystem::path below = std::filesystem::path(line.substr(second + 1)).relative_path();
    for (; !below.empty(); below = below.parent_path()) group.folders.push_back(top / below);
    group.folders.push_back(top);
    found.push_back(std::move(group));
  }
  return found;
}

// the first number of a file; infinity for "max", anything else and no file
double number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  double value = 0.0;
  return file >> value ? value : kInfinity;
}

// a file that disappears with this object
class Probe {
 public:
  explicit Probe(std::filesystem::path path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  }
  ~Probe() {
    if (descriptor_ >= 0) ::close(descriptor_);
    ::unlink(path_.c_str());
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  int get() const { return descriptor_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

std::string because() { return std::string(" (") + std::strerror(errno) + ")"; }

}  // namespace

double cpu_quota(const ControlGroups& groups) {
  double quota = kInfinity;
  for (const GroupFolders& group : folders_of(groups, "cpu")) {
    for (const std::filesystem::path& folder : group.folders) {
      if (group.version2) {
        // "max 100000" or "150000 100000"
        std::ifstream file(folder / "cpu.max");
        double time = 0.0;
        double period = 0.0;
        if (file >> time >> period && time > 0 && period > 0)
          quota = std::min(quota, time / period);
      } else {
        // -1 without a quota
        const double time = number_in(folder / "cpu.cfs_quota_us");
        const double period = number_in(folder / "cpu.cfs_period_us");
        if (time > 0 && period > 0 && std::isfinite(time)) quota = std::min(quota, time / period);
      }
    }
  }
  return quota;
}

double memory_limit(const ControlGroups& groups) {
  // version 1 writes the largest number of pages where there is no limit
  constexpr double kNoLimit = 0x1p62;
  double limit = kInfinity;
  for (const GroupFolders& group : folders_of(groups, "memory")) {
    for (const std::filesystem::path& folder : group.folders)
      limit = std::min(
          limit, number_in(folder / (group.version2 ? "memory.max" : "memory.limit_in_bytes")));
  }
  return limit < kNoLimit ? limit : kInfinity;
}

double free_memory() {
  double free = kInfinity;
  double own = 0.0;
  std::ifstream machine("/proc/meminfo");
  for (std::string line; std::getline(machine, line);) {
    if (line.rfind("MemAvailable:", 0) == 0)
      free = 1024.0 * std::strtod(line.c_str() + std::strlen("MemAvailable:"), nullptr);
  }
  // within the limit counts what this process has already
  std::ifstream status("/proc/self/statm");
  double pages = 0.0;
  if (status >> pages >> pages) own = pages * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  return std::min(free, memory_limit() - own);
}

std::optional<Finding> load_finding(double load, int64_t cores) {
  if (load <= static_cast<double>(cores)) return std::nullopt;
  std::array<char, 80> text{};
  std::snprintf(text.data(), text.size(), "%.1f threads want to run on this machine's %lld cores",
                load, static_cast<long long>(cores));
  return Finding{text.data(), "wait for other programs, or set threads to what they leave"};
}

std::optional<Finding> threads_finding(int64_t threads, double quota) {
  if (static_cast<double>(threads) <= std::ceil(quota)) return std::nullopt;
  std::array<char, 100> text{};
  std::snprintf(text.data(), text.size(),
                "%lld threads share the time of %.1f cores (cgroup quota)",
                static_cast<long long>(threads), quota);
  return Finding{text.data(), "set threads: 0, which takes as many as there is time for"};
}

std::optional<Finding> memory_finding(double bytes) {
  if (bytes >= kLittleMemory) return std::nullopt;
  return Finding{"only " + human_bytes(std::max(0.0, bytes)) + " of memory are free",
                 "end other programs, or ask for more memory"};
}

std::vector<Finding> machine_findings() {
  double load = 0.0;
  if (::getloadavg(&load, 1) != 1) load = 0.0;
  std::vector<Finding> findings;
  for (const auto& finding :
       {load_finding(load, ::sysconf(_SC_NPROCESSORS_ONLN)), memory_finding(free_memory())}) {
    if (finding) findings.push_back(*finding);
  }
  return findings;
}

std::vector<Finding> folder_findings(const std::filesystem::path& folder) {
  const std::string where = folder.string();
  const auto in_folder = [&](const char* name) {
    return folder / ("." + std::string(name) + "." + std::to_string(::getpid()));
  };
  std::vector<Finding> findings;
  const Probe first(in_folder("drop_probe_a"));
  if (first.get() < 0) {
    findings.push_back(
        {where + ": no file can be made here" + because(), "give --out a folder of your own"});
    return findings;
  }

  // what a checkpoint needs: written through, and put in place in one step
  const bool written = ::write(first.get(), "x", 1) == 1 && ::fsync(first.get()) == 0;
  if (!written) {
    findings.push_back({where + ": files cannot be written through to the disk" + because(),
                        "give --out a folder on a local disk"});
  }
  {
    const Probe second(in_folder("drop_probe_b"));
    if (::rename(first.path().c_str(), second.path().c_str()) != 0) {
      findings.push_back({where + ": a file cannot replace another" + because(),
                          "give --out a folder on a local disk"});
    }
  }

  // what keeps two trainers out of one folder: a second lock must be refused
  const Probe lock(in_folder("drop_probe_c"));
  const Probe again(in_folder("drop_probe_c"));
  const bool locks = ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
  if (!locks || ::flock(again.get(), LOCK_EX | LOCK_NB) == 0) {
    findings.push_back(
        {where + ": this file system has no working locks" + (locks ? "" : because()),
         "never train twice into one run folder, or give --out a folder on a local disk"});
  }

  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  if (!error && static_cast<double>(space.available) < kLittleRoom) {
    findings.push_back({where + ": only " + human_bytes(static_cast<double>(space.available)) +
                            " are free on this disk",
                        "free space, or lower checkpoint.keep"});
  }
  return findings;
}

}  // namespace drop
