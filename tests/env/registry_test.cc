#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "drop/base/error.h"
#include "drop/env/environment.h"

namespace drop {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

TEST(EnvironmentRegistry, HoldsTheTasks) {
  const EnvironmentRegistry& registry = EnvironmentRegistry::instance();
  for (const std::string name : {"hopper", "halfcheetah", "walker2d", "maze2d-umaze",
                                 "maze2d-large-dense", "maze2d-open", "maze2d-eval-medium", "ant",
                                 "antmaze-umaze", "antmaze-large-diverse", "door", "relocate"}) {
    EXPECT_TRUE(registry.contains(name)) << name;
    EXPECT_THAT(registry.names(), Contains(name));
  }
  EXPECT_FALSE(registry.contains("kitchen-complete"));
  // a task's environment carries the task's name; Adroit's need models that may not be there
  for (const std::string& name : registry.names()) {
    try {
      EXPECT_EQ(registry.make(name)->info().name, name);
    } catch (const RunError& error) {
      EXPECT_THAT(error.what(), HasSubstr("fetch_adroit.sh")) << name;
    }
  }
}

TEST(EnvironmentRegistry, UnknownTaskNamesTheNearest) {
  try {
    EnvironmentRegistry::instance().make("maze2d-umase");
    FAIL() << "an unknown task passed";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean \"maze2d-umaze\"?"));
    EXPECT_THAT(error.what(), HasSubstr("hopper, "));
  }
  EXPECT_THROW(EnvironmentRegistry::instance().make(""), UsageError);
}

TEST(EnvironmentRegistry, NamesAreUnique) {
  EnvironmentRegistry registry;
  const EnvironmentFactory factory = [](const EnvironmentOptions&) {
    return EnvironmentRegistry::instance().make("hopper");
  };
  registry.add("mine", factory);
  EXPECT_EQ(registry.make("mine")->info().name, "hopper");
  EXPECT_THROW(registry.add("mine", factory), UsageError);
}

}  // namespace
}  // namespace drop
