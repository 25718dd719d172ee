#include "drop/deploy/rollout_generator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <filesystem>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/signals.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/hdf5.h"
#include "support/models.h"
#include "support/paths.h"

namespace drop {
namespace {

RolloutOptions five_episodes() {
  RolloutOptions options;
  options.episodes = 5;
  options.seed = 3;
  options.noise = 0.3;
  options.epsilon = 0.2;
  options.quiet = true;
  return options;
}

TrainedModel hopper() { return testing::untrained("hopper", "hopper-medium-v2", 11, 3); }

TrajectoryDataset read(const std::string& path, const std::string& task) {
  return read_d4rl_file(find_dataset(path, task));
}

TEST(RolloutGenerator, WritesWholeEpisodesThatCanBeReplayed) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() / "rollouts.hdf5";
  const RolloutSummary summary = generate_rollouts(hopper(), five_episodes(), path);
  const TrajectoryDataset data = read(path, "hopper");
  ASSERT_EQ(data.trajectories.size(), 5u);
  EXPECT_EQ(data.rows, summary.rows);
  double total = 0.0;
  for (const Trajectory& trajectory : data.trajectories) {
    EXPECT_TRUE(trajectory.finished);
    EXPECT_TRUE(trajectory.terminal);  // an untrained hopper falls
    total += trajectory.return_sum;
  }
  EXPECT_NEAR(summary.return_mean, total / 5, 1e-4);

  // the file's states and actions give its observations and rewards, to their float32 rounding
  const Hdf5Array qpos = read_hdf5_array(path, "infos/qpos");
  const Hdf5Array qvel = read_hdf5_array(path, "infos/qvel");
  const auto environment = EnvironmentRegistry::instance().make("hopper");
  std::vector<double> observation(11);
  for (const Trajectory& trajectory : data.trajectories) {
    const auto begin = static_cast<size_t>(trajectory.begin);
    environment->set_state(std::span(qpos.values).subspan(begin * 6, 6),
                           std::span(qvel.values).subspan(begin * 6, 6), observation);
    for (auto row = begin; row < static_cast<size_t>(trajectory.end); ++row) {
      for (size_t i = 0; i < 11; ++i)
        ASSERT_EQ(static_cast<float>(observation[i]), data.observations[row * 11 + i]) << row;
      const std::vector<double> action(data.actions.begin() + static_cast<int64_t>(row * 3),
                                       data.actions.begin() + static_cast<int64_t>(row * 3 + 3));
      const StepResult result = environment->step(action, observation);
      ASSERT_EQ(static_cast<float>(result.reward), static_cast<float>(data.rewards[row]));
      ASSERT_EQ(result.terminated, data.terminals[row] != 0);
    }
  }
}

TEST(RolloutGenerator, RepeatsItselfWhateverTheThreads) {
  const testing::TemporaryFolder folder;
  RolloutOptions options = five_episodes();
  options.env_threads = 1;
  generate_rollouts(hopper(), options, folder.path() / "a.hdf5");
  options.env_threads = 3;
  generate_rollouts(hopper(), options, folder.path() / "b.hdf5");
  options.seed = 4;
  generate_rollouts(hopper(), options, folder.path() / "c.hdf5");
  const auto bytes = [&](const char* name) { return read_file(folder.path() / name); };
  EXPECT_EQ(bytes("a.hdf5"), bytes("b.hdf5"));
  EXPECT_NE(bytes("a.hdf5"), bytes("c.hdf5"));
}

TEST(RolloutGenerator, EpisodesBeyondTheLockstepGoOn) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() / "many.hdf5";
  RolloutOptions options = five_episodes();
  options.episodes = 40;
  generate_rollouts(hopper(), options, path);
  const TrajectoryDataset data = read(path, "hopper");
  ASSERT_EQ(data.trajectories.size(), 40u);
  // all of their own starts
  for (const size_t other : {size_t{16}, size_t{32}}) {
    const auto row = static_cast<size_t>(data.trajectories[other].begin);
    EXPECT_NE(data.observations[0], data.observations[row * 11]);
  }
}

TEST(RolloutGenerator, AntMazeEpisodesHaveAGoalEachAndEndByTimeouts) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() / "ants.hdf5";
  RolloutOptions options = five_episodes();
  options.episodes = 2;
  options.environment.dataset_id = "antmaze-umaze-v0";
  generate_rollouts(testing::untrained("antmaze-umaze", "antmaze-umaze-v0", 29, 8), options, path);
  const Hdf5Array goals = read_hdf5_array(path, "infos/goal");
  ASSERT_EQ(goals.shape, (std::vector<int64_t>{2 * 700, 2}));
  EXPECT_EQ(goals.values[0], goals.values[2 * 699]);
  EXPECT_NE(goals.values[0], goals.values[2 * 700]);
  EXPECT_EQ(read(path, "antmaze-umaze").trajectories.size(), 2u);
}

TEST(RolloutGenerator, NoiseAndEpsilonDisturbTheActions) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() / "noise.hdf5";
  const auto mean_square = [&](double noise, double epsilon) {
    RolloutOptions options = five_episodes();
    options.episodes = 30;
    options.noise = noise;
    options.epsilon = epsilon;
    generate_rollouts(hopper(), options, path);
    const TrajectoryDataset data = read(path, "hopper");
    double sum = 0.0;
    for (const float action : data.actions) sum += static_cast<double>(action) * action;
    return sum / static_cast<double>(data.actions.size());
  };
  // an untrained policy hardly moves; uniform actions in [-1, 1] have the mean square 1/3
  const double quiet = mean_square(0.0, 0.0);
  EXPECT_LT(quiet, 0.1);
  EXPECT_NEAR(mean_square(0.3, 0.0), quiet + 0.09, 0.02);
  EXPECT_NEAR(mean_square(0.0, 1.0), 1.0 / 3.0, 0.03);
}

TEST(RolloutGenerator, RefusesWhatDoesNotFitAndLeavesNothingBehind) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path() / "none.hdf5";
  const RolloutOptions options = five_episodes();
  EXPECT_THROW(generate_rollouts(testing::untrained("hopper", "", 12, 3), options, path),
               UsageError);
  EXPECT_THROW(generate_rollouts(testing::untrained("nowhere", "", 4, 2), options, path),
               UsageError);
  install_stop_handlers();
  std::raise(SIGINT);
  EXPECT_THROW(generate_rollouts(hopper(), options, path), Interrupted);
  clear_stop_request();
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace drop
