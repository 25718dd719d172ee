#pragma once

#include <string>
#include <utility>
#include <vector>

namespace drop {

/// Ordered pairs of name and value: what a start-up report, provenance.json and drop_doctor show.
using Report = std::vector<std::pair<std::string, std::string>>;

/// This build: project version, commit, dirty flag, compiler, build type.
Report build_report();

/// The commit that was built, "-dirty" behind it where the sources had been changed.
std::string build_commit();

/// This machine: CPU model, logical cores that this process may use, memory, SIMD features.
Report machine_report();

/// The CPU's frequency as the system tells it; 0 where it does not.
double cpu_megahertz();

/// Version of the project, e.g. "0.1.0".
std::string project_version();

/// Cores that this process may run on (its affinity mask), at least 1.
int permitted_cores();

/// How many of them it can keep busy within the CPU quota of its control groups; at least 1.
int available_cores();

}  // namespace drop
