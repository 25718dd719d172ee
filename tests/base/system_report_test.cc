#include "drop/base/system_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "drop/base/machine_check.h"

namespace drop {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> names_of(const Report& report) {
  std::vector<std::string> names;
  for (const auto& [name, value] : report) {
    names.push_back(name);
    EXPECT_FALSE(value.empty()) << name;
    EXPECT_EQ(value.find('\n'), std::string::npos) << name;
  }
  return names;
}

std::string value_of(const Report& report, const std::string& wanted) {
  for (const auto& [name, value] : report) {
    if (name == wanted) return value;
  }
  return "";
}

TEST(SystemReport, VersionIsThreeNumbers) {
  const std::string version = project_version();
  EXPECT_EQ(std::count(version.begin(), version.end(), '.'), 2) << version;
  // no part is empty
  EXPECT_TRUE(std::isdigit(static_cast<unsigned char>(version.front()))) << version;
  EXPECT_TRUE(std::isdigit(static_cast<unsigned char>(version.back()))) << version;
  EXPECT_EQ(version.find(".."), std::string::npos) << version;
  EXPECT_EQ(version.find_first_not_of("0123456789."), std::string::npos) << version;
}

TEST(SystemReport, BuildNamesItsOrigin) {
  const Report report = build_report();
  EXPECT_THAT(names_of(report), ElementsAre("drop", "commit", "dirty", "build_type", "compiler"));
  EXPECT_EQ(value_of(report, "drop"), project_version());
  EXPECT_THAT(value_of(report, "compiler"), HasSubstr(std::to_string(__GNUC__) + "."));
}

TEST(SystemReport, MachineIsDescribed) {
  const Report report = machine_report();
  EXPECT_THAT(names_of(report), ElementsAre("cpu", "cores", "memory", "simd"));
  EXPECT_EQ(value_of(report, "cores"), std::to_string(available_cores()));
}

TEST(SystemReport, CoresAreThoseThatTheProcessMayUse) {
  cpu_set_t before;
  CPU_ZERO(&before);
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(permitted_cores(), CPU_COUNT(&before));
  EXPECT_EQ(available_cores(), std::min<double>(CPU_COUNT(&before), std::ceil(cpu_quota())));
  // bound to a single core
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(permitted_cores(), 1);
  EXPECT_EQ(available_cores(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

}  // namespace
}  // namespace drop
