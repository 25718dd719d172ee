#include "drop/base/system_report.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>

#include "drop/base/machine_check.h"
#include "drop/base/text.h"
#include "drop_commit.h"

namespace drop {

namespace {

// first value of a field of /proc/cpuinfo, empty when there is none
std::string cpu_field(const std::string& field) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(field, 0) == 0) {
      const size_t colon = line.find(": ");
      if (colon != std::string::npos) return line.substr(colon + 2);
    }
  }
  return "";
}

std::string simd_features() {
  std::istringstream flags(cpu_field("flags"));
  std::vector<std::string> found;
  for (std::string flag; flags >> flag;) {
    for (const char* wanted : {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}) {
      if (flag == wanted) found.push_back(flag);
    }
  }
  return found.empty() ? "none of avx2, avx512f, avx512_bf16, amx_bf16" : join(found, " ");
}

}  // namespace

double cpu_megahertz() { return std::strtod(cpu_field("cpu MHz").c_str(), nullptr); }

std::string project_version() { return DROP_VERSION; }

int permitted_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int available_cores() {
  // more threads than the quota has CPUs would only be stopped for a part of every period
  const double quota = std::max(1.0, std::ceil(cpu_quota()));
  return static_cast<int>(std::min<double>(permitted_cores(), quota));
}

std::string build_commit() {
  return std::string(DROP_COMMIT) + (std::string_view(DROP_DIRTY) == "true" ? "-dirty" : "");
}

Report build_report() {
  return {{"drop", DROP_VERSION},
          {"commit", DROP_COMMIT},
          {"dirty", DROP_DIRTY},
          {"build_type", DROP_BUILD_TYPE},
          {"compiler", "g++ " __VERSION__}};
}

Report machine_report() {
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  return {{"cpu", cpu_field("model name")},
          {"cores", std::to_string(available_cores())},
          {"memory", human_bytes(memory)},
          {"simd", simd_features()}};
}

}  // namespace drop
