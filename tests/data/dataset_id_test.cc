#include "drop/data/dataset_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "drop/base/error.h"
#include "drop/config/config.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::HasSubstr;

// sets an environment variable for one test
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  ~ScopedVariable() {
    if (old_) {
      ::setenv(name_, old_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

std::string error_of(const std::string& dataset) {
  try {
    find_dataset(dataset);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

TEST(DatasetId, FileNamesFollowTheTablesOfD4rl) {
  const std::vector<std::vector<std::string>> cases = {
      {"hopper-medium-replay-v2", "hopper_medium_replay-v2.hdf5", "hopper"},
      {"ant-full-replay-v1", "ant_full_replay-v1.hdf5", "ant"},
      {"halfcheetah-medium-expert-v0", "halfcheetah_medium_expert.hdf5", "halfcheetah"},
      {"hopper-medium-replay-v0", "hopper_mixed.hdf5", "hopper"},
      {"walker2d-medium-replay-v0", "walker_mixed.hdf5", "walker2d"},
      {"walker2d-medium-v0", "walker2d_medium.hdf5", "walker2d"},
      {"ant-random-expert-v0", "ant_random_expert.hdf5", "ant"},
      {"maze2d-open-v0", "maze2d-open-sparse.hdf5", "maze2d-open"},
      {"maze2d-umaze-v1", "maze2d-umaze-sparse-v1.hdf5", "maze2d-umaze"},
      {"maze2d-large-dense-v1", "maze2d-large-dense-v1.hdf5", "maze2d-large-dense"},
      {"maze2d-medium-v0", "maze2d-medium-sparse.hdf5", "maze2d-medium"},
      {"maze2d-eval-large-dense-v1", "maze2d-eval-large-dense-v1.hdf5", "maze2d-eval-large-dense"},
      {"antmaze-umaze-v0", "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse.hdf5",
       "antmaze-umaze"},
      {"antmaze-medium-play-v1",
       "Ant_maze_medium_noisy_multistart_True_multigoal_False_sparse.hdf5", "antmaze-medium-play"},
      {"antmaze-large-diverse-v2",
       "Ant_maze_hardest-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5",
       "antmaze-large-diverse"},
      {"door-human-v0", "door-v0_demos_clipped.hdf5", "door"},
      {"pen-cloned-v0", "pen-demos-v0-bc-combined.hdf5", "pen"},
      {"relocate-expert-v0", "relocate-v0_expert_clipped.hdf5", "relocate"},
      {"hammer-cloned-v1", "hammer-cloned-v1.hdf5", "hammer"}};
  for (const auto& names : cases) {
    EXPECT_EQ(file_name_of_dataset_id(names[0]), names[1]);
    EXPECT_EQ(dataset_id_of_file_name(names[1]), names[0]);
    EXPECT_EQ(task_of_dataset_id(names[0]), names[2]);
  }
}

TEST(DatasetId, UnknownNamesAreEmpty) {
  for (const char* id : {"", "hopper", "hopper-medium-v3", "hopper-full-replay-v0",
                         "Hopper-medium-v2", "maze2d-open-v1", "hopper_medium_replay_like"}) {
    EXPECT_EQ(file_name_of_dataset_id(id), "") << id;
    EXPECT_EQ(task_of_dataset_id(id), "") << id;
  }
  EXPECT_EQ(dataset_id_of_file_name("hopper_medium-v2.h5"), "");
  EXPECT_EQ(dataset_id_of_file_name(""), "");
}

TEST(DatasetId, ShippedConfigsNameKnownDataSetsAndTheirTasks) {
  const std::filesystem::path configs = std::filesystem::path(DROP_SOURCE_DIR) / "configs";
  int found = 0;
  for (const char* suite : {"gym", "maze2d", "antmaze", "adroit"}) {
    for (const auto& entry : std::filesystem::directory_iterator(configs / suite)) {
      const Config config = load_config(entry.path().string());
      EXPECT_NE(file_name_of_dataset_id(config.dataset), "") << entry.path();
      EXPECT_EQ(task_of_dataset_id(config.dataset), config.task) << entry.path();
      ++found;
    }
  }
  // the paper's 51 and the small one
  EXPECT_EQ(found, 52);
}

TEST(DatasetId, GenuineChecksumTableIsKnownByName) {
  const std::string table = testing::shared_data("d4rl_checksums.tsv");
  if (table.empty()) GTEST_SKIP() << "d4rl_checksums.tsv is not there";
  std::ifstream file(table);
  int names = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const std::string path = line.substr(0, line.find('\t'));
    EXPECT_NE(dataset_id_of_file_name(std::filesystem::path(path).filename().string()), "") << path;
    ++names;
  }
  EXPECT_GT(names, 20);
}

TEST(DatasetId, FamilyFollowsTheFirstWord) {
  EXPECT_EQ(family_of("hopper-medium-v2"), Family::kLocomotion);
  EXPECT_EQ(family_of("hopper_medium_replay_like"), Family::kLocomotion);
  EXPECT_EQ(family_of("walker_mixed"), Family::kLocomotion);
  EXPECT_EQ(family_of("ant"), Family::kLocomotion);
  EXPECT_EQ(family_of("antmaze-umaze"), Family::kAntMaze);
  EXPECT_EQ(family_of("Ant_maze_u-maze_noisy"), Family::kAntMaze);
  EXPECT_EQ(family_of("maze2d-umaze-dense"), Family::kMaze2d);
  EXPECT_EQ(family_of("door-human-v1"), Family::kAdroit);
  EXPECT_EQ(family_of("hopperish-medium"), Family::kOther);
  EXPECT_EQ(family_of("my-hopper"), Family::kOther);
  EXPECT_EQ(family_of(""), Family::kOther);
}

TEST(FindDataset, APathOfAGenuineNameGetsItsId) {
  const DatasetSource source = find_dataset(testing::fixture("door-v0_demos_clipped.hdf5"));
  EXPECT_EQ(source.id, "door-human-v0");
  EXPECT_EQ(source.task, "door");
  EXPECT_EQ(source.family, Family::kAdroit);
  EXPECT_EQ(source.path, testing::fixture("door-v0_demos_clipped.hdf5"));
}

TEST(FindDataset, AnotherNameGivesItsStemAndFamilyButNoTask) {
  const DatasetSource source = find_dataset(testing::fixture("hopper_float64.hdf5"));
  EXPECT_EQ(source.id, "hopper_float64");
  EXPECT_EQ(source.task, "");
  EXPECT_EQ(source.family, Family::kLocomotion);
}

TEST(FindDataset, AGivenTaskDecidesTheFamily) {
  const DatasetSource source =
      find_dataset(testing::fixture("hopper_float64.hdf5"), "antmaze-umaze");
  EXPECT_EQ(source.task, "antmaze-umaze");
  EXPECT_EQ(source.family, Family::kAntMaze);
}

TEST(FindDataset, AnIdIsLookedUpInTheDatasetFolder) {
  const ScopedVariable folder("D4RL_DATASET_DIR", std::string(DROP_FIXTURES));
  const DatasetSource source = find_dataset("maze2d-umaze-v1");
  EXPECT_EQ(source.path, testing::fixture("maze2d-umaze-sparse-v1.hdf5"));
  EXPECT_EQ(source.id, "maze2d-umaze-v1");
  EXPECT_EQ(source.task, "maze2d-umaze");
  EXPECT_EQ(source.family, Family::kMaze2d);
}

TEST(FindDataset, TheDefaultFolderLiesInTheHome) {
  const testing::TemporaryFolder home;
  const auto folder = home.path() / ".d4rl" / "datasets";
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(testing::fixture("hopper_medium-v2.hdf5"),
                             folder / "hopper_medium-v2.hdf5");
  const ScopedVariable unset("D4RL_DATASET_DIR", "");
  const ScopedVariable set("HOME", home.path().string());
  EXPECT_EQ(find_dataset("hopper-medium-v2").path, (folder / "hopper_medium-v2.hdf5").string());
}

TEST(FindDataset, ErrorsNameWhatWasLookedForAndTheCure) {
  const ScopedVariable folder("D4RL_DATASET_DIR", std::string(DROP_FIXTURES));
  EXPECT_THAT(error_of("hopper-expert-v2"), HasSubstr("hopper_expert-v2.hdf5"));
  EXPECT_THAT(error_of("hopper-expert-v2"), HasSubstr("D4RL_DATASET_DIR"));
  EXPECT_THAT(error_of("hoper-medium-v2"), HasSubstr("did you mean 'hopper-medium-v2'"));
  EXPECT_THAT(error_of("no/such.hdf5"), HasSubstr("no/such.hdf5: there is no such file"));
  EXPECT_THAT(error_of(""), HasSubstr("no data set"));
}

}  // namespace
}  // namespace drop
