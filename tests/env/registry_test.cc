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
  for (const std::string name :
       {"hopper", "maze2d-umaze", "maze2d-large-dense", "maze2d-open", "maze2d-eval-medium"}) {
    EXPECT_TRUE(registry.contains(name)) << name;
    EXPECT_THAT(registry.names(), Contains(name));
  }
  EXPECT_FALSE(registry.contains("door"));
  // a task's environment carries the task's name
  for (const std::string& name : registry.names())
    EXPECT_EQ(registry.make(name)->info().name, name);
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
