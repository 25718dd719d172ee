#include "drop/env/reference_scores.h"

#include <gtest/gtest.h>

#include "drop/env/environment.h"
#include "env/dataset_version.h"

namespace drop {
namespace {

void expect_score(const std::string& task, const std::string& id, double random, double expert) {
  const auto score = reference_score(task, id);
  ASSERT_TRUE(score.has_value()) << task << " " << id;
  EXPECT_EQ(score->random, random) << task << " " << id;
  EXPECT_EQ(score->expert, expert) << task << " " << id;
  EXPECT_FALSE(score->source.empty());
}

TEST(ReferenceScore, Locomotion) {
  expect_score("hopper", "", -20.272305, 3234.3);
  expect_score("hopper", "hopper-medium-replay-v2", -20.272305, 3234.3);
  expect_score("halfcheetah", "halfcheetah-random-v0", -280.178953, 12135.0);
  expect_score("walker2d", "", 1.629008, 4592.3);
  expect_score("ant", "", -325.6, 3879.7);
}

TEST(ReferenceScore, Maze2dVersionsDiffer) {
  expect_score("maze2d-umaze", "", 23.85, 161.86);
  expect_score("maze2d-umaze", "maze2d-umaze-v1", 23.85, 161.86);
  expect_score("maze2d-umaze", "maze2d-umaze-v0", 0.94, 62.6);
  expect_score("maze2d-umaze", "my_file", 23.85, 161.86);
  expect_score("maze2d-large-dense", "maze2d-large-dense-v0", 27.388310, 215.09965671563742);
  expect_score("maze2d-large-dense", "", 30.569041, 303.4857382709002);
  expect_score("maze2d-open", "maze2d-open-v0", 0.01, 20.66);
  expect_score("maze2d-eval-large", "", 16.4, 302.22);
}

TEST(ReferenceScore, OtherSuites) {
  expect_score("antmaze-large-diverse", "antmaze-large-diverse-v2", 0.0, 1.0);
  expect_score("pen", "pen-cloned-v1", 96.262799, 3076.8331017826877);
  expect_score("hammer", "", -274.856578, 12794.134825156867);
  expect_score("door", "", -56.512833, 2880.5693087298737);
  expect_score("relocate", "", -6.425911, 4233.877797728884);
  expect_score("kitchen-partial", "kitchen-partial-v0", 0.0, 4.0);
}

TEST(ReferenceScore, TheTaskMayFollowFromTheId) {
  expect_score("", "hopper-medium-v2", -20.272305, 3234.3);
  expect_score("", "maze2d-medium-v0", 5.77, 85.14);
}

TEST(ReferenceScore, UnknownTasksHaveNone) {
  EXPECT_FALSE(reference_score("").has_value());
  EXPECT_FALSE(reference_score("cartpole").has_value());
  EXPECT_FALSE(reference_score("maze2d").has_value());
}

TEST(ReferenceScore, EveryEnvironmentHasOne) {
  for (const std::string& task : EnvironmentRegistry::instance().names()) {
    EXPECT_TRUE(reference_score(task).has_value()) << task;
  }
}

TEST(NormalisedScore, MapsReferencesToZeroAndHundred) {
  const ReferenceScore score = *reference_score("hopper");
  EXPECT_DOUBLE_EQ(normalised_score(-20.272305, score), 0.0);
  EXPECT_DOUBLE_EQ(normalised_score(3234.3, score), 100.0);
  EXPECT_NEAR(normalised_score(1422.06, score), 44.3171, 1e-4);
}

TEST(DatasetVersion, BelongsToTheTask) {
  EXPECT_EQ(dataset_version("maze2d-umaze", "maze2d-umaze-v0"), "v0");
  EXPECT_EQ(dataset_version("hopper", "hopper-medium-v2"), "v2");
  EXPECT_EQ(dataset_version("hopper", "walker2d-medium-v2"), "");
  EXPECT_EQ(dataset_version("hopper", "hopper-medium"), "");
  EXPECT_EQ(dataset_version("hopper", "hopper-medium-vX"), "");
  EXPECT_EQ(dataset_version("hopper", "hopper-medium-v"), "");
  EXPECT_EQ(dataset_version("hopper", "hopper"), "");
  EXPECT_EQ(dataset_version("hopper", ""), "");
}

}  // namespace
}  // namespace drop
