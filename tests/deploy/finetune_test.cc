#include "drop/deploy/finetune.h"

#include <gtest/gtest.h>

#include "drop/base/error.h"

namespace drop {
namespace {

TEST(Finetune, TheStartStaysUnlessATrialIsBetter) {
  const auto trials = [](std::vector<double> returns) {
    std::vector<FinetuneTrial> made;
    for (const double value : returns) made.push_back({"c", 0, 0, value, 1});
    return made;
  };
  EXPECT_EQ(best_trial(trials({3.0, 3.0, 1.0})), 0u);
  EXPECT_EQ(best_trial(trials({3.0, 4.0, 4.0})), 1u);
  EXPECT_EQ(best_trial(trials({-2.0})), 0u);
}

TEST(Finetune, NamesOfLevels) {
  for (const char* name : {"checkpoint", "embedding", "parametric"})
    EXPECT_EQ(to_string(finetune_level_from(name)), name);
  EXPECT_THROW(finetune_level_from("parameters"), UsageError);
}

}  // namespace
}  // namespace drop
