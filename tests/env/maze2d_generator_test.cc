#include "drop/env/maze2d_generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <filesystem>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/signals.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/hdf5.h"
#include "env/maze2d.h"
#include "support/paths.h"

namespace drop {
namespace {

struct Columns {
  std::vector<double> observations, actions, rewards, goal, qpos, qvel;
  std::vector<uint8_t> terminals, timeouts;
  size_t rows() const { return rewards.size(); }
};

Columns generate(const Maze2dGeneratorOptions& options, const std::string& file) {
  generate_maze2d(options, file);
  const auto read = [&](const std::string& name) { return read_hdf5_array(file, name).values; };
  const TrajectoryDataset dataset = read_d4rl_file(find_dataset(file, options.task));
  return {read("observations"), read("actions"),    read("rewards"),   read("infos/goal"),
          read("infos/qpos"),   read("infos/qvel"), dataset.terminals, dataset.timeouts};
}

Maze2dGeneratorOptions umaze(int64_t rows) {
  Maze2dGeneratorOptions options;
  options.rows = rows;
  options.quiet = true;
  return options;
}

TEST(GenerateMaze2d, RewardsFollowEachRowsObservation) {
  const testing::TemporaryFolder folder;
  for (const std::string name : {"maze2d-umaze", "maze2d-umaze-dense"}) {
    Maze2dGeneratorOptions options = umaze(4000);
    options.task = name;
    const Columns data = generate(options, folder.file(name));
    ASSERT_EQ(data.rows(), 4000U);
    const Maze2dTask task = maze2d_task(name);
    double inside = 0.0;
    for (size_t t = 0; t < data.rows(); ++t) {
      const double x = data.observations[4 * t];
      const double y = data.observations[4 * t + 1];
      EXPECT_EQ(static_cast<float>(data.rewards[t]),
                static_cast<float>(maze2d_reward(task, {x, y})));
      EXPECT_EQ(data.terminals[t], 0);
      inside += data.rewards[t] > 0.5;
    }
    EXPECT_GT(inside, 100);
  }
}

TEST(GenerateMaze2d, KeepsTheOldObservationWhenTheTargetChanges) {
  const testing::TemporaryFolder folder;
  const Columns data = generate(umaze(4000), folder.file("umaze.hdf5"));
  int switches = 0;
  for (size_t t = 0; t + 1 < data.rows(); ++t) {
    const bool same_target =
        data.goal[2 * t] == data.goal[2 * t + 2] && data.goal[2 * t + 1] == data.goal[2 * t + 3];
    EXPECT_EQ(data.timeouts[t] == 0, same_target) << t;
    const bool same_observation =
        std::equal(data.observations.begin() + 4 * t, data.observations.begin() + 4 * t + 4,
                   data.observations.begin() + 4 * t + 4);
    EXPECT_EQ(same_observation, data.timeouts[t] != 0) << t;
    // the physics goes on all the same
    EXPECT_NE(data.qpos[2 * t], data.qpos[2 * t + 2]) << t;
    // elsewhere the observation is the simulator's state
    if (t == 0 || data.timeouts[t - 1] == 0) {
      EXPECT_EQ(static_cast<float>(data.observations[4 * t]), static_cast<float>(data.qpos[2 * t]));
      EXPECT_EQ(static_cast<float>(data.observations[4 * t + 3]),
                static_cast<float>(data.qvel[2 * t + 1]));
    }
    switches += data.timeouts[t] != 0;
  }
  EXPECT_GT(switches, 20);
}

TEST(GenerateMaze2d, SegmentsAreAsLongAsD4rls) {
  const testing::TemporaryFolder folder;
  const Columns data = generate(umaze(40000), folder.file("umaze.hdf5"));
  size_t segments = 0;
  size_t last = 0;
  size_t reached = 0;
  size_t longest = 0;
  for (size_t t = 0; t < data.rows(); ++t) {
    if (data.timeouts[t] == 0) continue;
    ++segments;
    longest = std::max(longest, t - last);
    last = t;
    // within 0.1 of the target's cell; a time-out of the target itself is rare
    reached +=
        std::hypot(data.observations[4 * t] - std::nearbyint(data.goal[2 * t]),
                   data.observations[4 * t + 1] - std::nearbyint(data.goal[2 * t + 1])) < 0.1;
  }
  // D4RL's umaze file has about 12.5k segments in 1e6 rows; whether its actions were noisy is not
  // known
  const double mean = static_cast<double>(data.rows()) / static_cast<double>(segments);
  EXPECT_NEAR(mean, 80.0, 12.0);
  EXPECT_GE(reached, segments * 99 / 100);
  EXPECT_LE(longest, 301U);
}

TEST(GenerateMaze2d, StaysInsideTheMazeAndCoversIt) {
  const testing::TemporaryFolder folder;
  for (const std::string name : {"maze2d-umaze", "maze2d-medium"}) {
    Maze2dGeneratorOptions options = umaze(20000);
    options.task = name;
    options.action_noise = 0.5;
    const Columns data = generate(options, folder.file(name));
    const Maze maze = maze2d_task(name).maze;
    std::vector<int> visits(maze.open_cells().size(), 0);
    for (size_t t = 0; t < data.rows(); ++t) {
      // world coordinates are qpos + 1.2, and cell (i, j) is centred at (i + 1, j + 1)
      const MazeCell cell = {static_cast<int>(std::lround(data.qpos[2 * t] + 0.2)),
                             static_cast<int>(std::lround(data.qpos[2 * t + 1] + 0.2))};
      const auto found = std::find(maze.open_cells().begin(), maze.open_cells().end(), cell);
      ASSERT_NE(found, maze.open_cells().end()) << name << " row " << t;
      ++visits[static_cast<size_t>(found - maze.open_cells().begin())];
      EXPECT_LE(std::abs(data.actions[2 * t]), 1.0);
    }
    for (const int n : visits) EXPECT_GT(n, 0) << name;
  }
}

TEST(GenerateMaze2d, StoredActionsRepeatThePhysics) {
  const testing::TemporaryFolder folder;
  Maze2dGeneratorOptions options = umaze(500);
  options.action_noise = 0.5;
  const Columns data = generate(options, folder.file("umaze.hdf5"));
  Maze2dEnvironment environment(maze2d_task("maze2d-umaze"));
  std::array<double, 4> observation{};
  for (size_t t = 0; t + 1 < data.rows(); ++t) {
    const std::span<const double> qpos(data.qpos);
    const std::span<const double> qvel(data.qvel);
    environment.set_state(qpos.subspan(2 * t, 2), qvel.subspan(2 * t, 2), observation);
    environment.step(std::span<const double>(data.actions).subspan(2 * t, 2), observation);
    EXPECT_NEAR(observation[0], data.qpos[2 * t + 2], 1e-9) << t;
    EXPECT_NEAR(observation[3], data.qvel[2 * t + 3], 1e-9) << t;
  }
}

TEST(GenerateMaze2d, SameSeedSameFile) {
  const testing::TemporaryFolder folder;
  generate_maze2d(umaze(1500), folder.file("one.hdf5"));
  generate_maze2d(umaze(1500), folder.file("two.hdf5"));
  Maze2dGeneratorOptions other = umaze(1500);
  other.seed = 1;
  generate_maze2d(other, folder.file("three.hdf5"));
  EXPECT_EQ(read_file(folder.file("one.hdf5")), read_file(folder.file("two.hdf5")));
  EXPECT_NE(read_hdf5_array(folder.file("one.hdf5"), "actions").values,
            read_hdf5_array(folder.file("three.hdf5"), "actions").values);
}

TEST(GenerateMaze2d, ReadsBackAsADataSet) {
  const testing::TemporaryFolder folder;
  const std::string file = folder.file("umaze.hdf5");
  const Columns data = generate(umaze(1500), file);
  const TrajectoryDataset dataset = read_d4rl_file(find_dataset(file, "maze2d-umaze"));
  EXPECT_EQ(dataset.rows, 1500);
  EXPECT_EQ(dataset.state_dim, 4);
  EXPECT_EQ(dataset.action_dim, 2);
  size_t ends = 0;
  for (const uint8_t flag : data.timeouts) ends += flag;
  size_t complete = 0;
  for (const Trajectory& trajectory : dataset.trajectories) complete += trajectory.finished;
  EXPECT_EQ(complete, ends);
}

TEST(GenerateMaze2d, ASignalLeavesNoFile) {
  const testing::TemporaryFolder folder;
  install_stop_handlers();
  std::raise(SIGINT);
  EXPECT_THROW(generate_maze2d(umaze(5000), folder.file("umaze.hdf5")), Interrupted);
  clear_stop_request();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(GenerateMaze2d, RefusesBadRequests) {
  const testing::TemporaryFolder folder;
  Maze2dGeneratorOptions options = umaze(10);
  options.task = "hopper";
  EXPECT_THROW(generate_maze2d(options, folder.file("x")), UsageError);
  EXPECT_THROW(generate_maze2d(umaze(0), folder.file("x")), UsageError);
  EXPECT_THROW(generate_maze2d(umaze(10), folder.file("no/such/folder/x")), RunError);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace drop
