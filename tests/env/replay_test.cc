#include "drop/env/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "drop/base/error.h"
#include "drop/base/signals.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/hdf5.h"
#include "drop/env/environment.h"
#include "drop/env/maze2d_generator.h"
#include "env/adroit.h"
#include "env/maze2d_layout.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// a file in D4RL's layout, to be damaged
struct Data {
  size_t state_dim = 0, action_dim = 0;
  std::vector<double> observations, actions, rewards;
  std::vector<bool> terminals, timeouts;
  std::map<std::string, std::vector<double>> extra;  // further arrays
  std::vector<std::string> float64;                  // those of `extra` that are not float32

  size_t rows() const { return rewards.size(); }
};

std::string write(const Data& data, const std::string& path) {
  std::map<std::string, int64_t> widths;
  for (const auto& [name, values] : data.extra) {
    widths[name] = static_cast<int64_t>(values.size() / data.rows());
  }
  D4rlWriter writer(path, static_cast<int64_t>(data.state_dim),
                    static_cast<int64_t>(data.action_dim), widths, data.float64);
  const auto row_of = [](const std::vector<double>& values, size_t row, size_t width) {
    return std::span<const double>(values).subspan(row * width, width);
  };
  for (size_t row = 0; row < data.rows(); ++row) {
    std::vector<double> extra;
    for (const auto& [name, values] : data.extra) {
      const auto part = row_of(values, row, values.size() / data.rows());
      extra.insert(extra.end(), part.begin(), part.end());
    }
    writer.append(row_of(data.observations, row, data.state_dim),
                  row_of(data.actions, row, data.action_dim), data.rewards[row],
                  data.terminals[row], data.timeouts[row], extra);
  }
  writer.close();
  return path;
}

Data read(const std::string& path, const std::vector<std::string>& extra) {
  Data data;
  const auto values_of = [&](const std::string& name) {
    return read_hdf5_array(path, name).values;
  };
  data.observations = values_of("observations");
  data.actions = values_of("actions");
  data.rewards = values_of("rewards");
  for (const double flag : values_of("terminals")) data.terminals.push_back(flag != 0.0);
  for (const double flag : values_of("timeouts")) data.timeouts.push_back(flag != 0.0);
  data.state_dim = data.observations.size() / data.rows();
  data.action_dim = data.actions.size() / data.rows();
  for (const std::string& name : extra) data.extra[name] = values_of(name);
  data.float64 = extra;
  return data;
}

// episodes of random actions, written as a running simulation records them
Data record(Environment& environment, size_t rows, uint64_t seed = 0) {
  Data data;
  data.state_dim = static_cast<size_t>(environment.info().state_dim);
  data.action_dim = static_cast<size_t>(environment.info().action_dim);
  data.float64 = {"infos/qpos", "infos/qvel"};
  RandomStream rng(seed, "env");
  std::vector<double> observation(data.state_dim);
  std::vector<double> action(data.action_dim);
  const auto add = [](std::vector<double>& to, const std::vector<double>& values) {
    to.insert(to.end(), values.begin(), values.end());
  };
  environment.reset(rng, observation);
  while (data.rows() < rows) {
    add(data.observations, observation);
    add(data.extra["infos/qpos"], environment.qpos());
    add(data.extra["infos/qvel"], environment.qvel());
    for (double& a : action) a = as_float32(rng.uniform(-1.0, 1.0));
    add(data.actions, action);
    const StepResult result = environment.step(action, observation);
    add(data.extra["next_observations"], observation);
    data.rewards.push_back(result.reward);
    data.terminals.push_back(result.terminated);
    data.timeouts.push_back(result.truncated && !result.terminated);
    if (result.terminated || result.truncated) environment.reset(rng, observation);
  }
  return data;
}

Data record(const std::string& task, size_t rows) {
  return record(*EnvironmentRegistry::instance().make(task), rows);
}

ReplayOptions options_for(const std::string& file, const std::string& task = "") {
  ReplayOptions options;
  options.file = file;
  options.task = task;
  options.quiet = true;
  return options;
}

template <typename Error>
std::string error_of(const ReplayOptions& options) {
  try {
    replay(options);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "";
}

class Replay : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return folder_.file(name); }

  // a Maze2D file as D4RL's script makes it
  std::string maze(const std::string& task = "maze2d-umaze", int64_t rows = 1500) {
    Maze2dGeneratorOptions options;
    options.task = task;
    options.rows = rows;
    options.quiet = true;
    generate_maze2d(options, file(task + ".hdf5"));
    return file(task + ".hdf5");
  }
  Data maze_data(const std::string& task = "maze2d-umaze") {
    return read(maze(task), {"infos/qpos", "infos/qvel", "infos/goal"});
  }

 private:
  testing::TemporaryFolder folder_;
};

// ---- the fidelity layout ------------------------------------------------------------------------

TEST_F(Replay, FidelityFilesHoldSeveralTasks) {
  ReplayOptions options = options_for(testing::fixture("env_fidelity.hdf5"));
  options.tolerance = 1e-9;
  const ReplayReport report = replay(options);
  EXPECT_TRUE(report.passed) << report.failure();
  EXPECT_EQ(report.layout, "fidelity");
  EXPECT_EQ(report.file_mujoco_version, "3.17.0");
  ASSERT_EQ(report.tasks.size(), 3U);
  EXPECT_EQ(report.tasks[0].task, "hopper");
  EXPECT_EQ(report.tasks[1].task, "maze2d-umaze");
  EXPECT_EQ(report.tasks[2].task, "maze2d-umaze-dense");
  EXPECT_THAT(report.tasks[0].notes, Contains(HasSubstr("hopper_modern is skipped")));
  EXPECT_THAT(report.tasks[0].notes, Contains(HasSubstr("terminals are not compared")));
  EXPECT_THAT(report.tasks[1].rewards, HasSubstr("sparse reward of"));
  EXPECT_THAT(report.tasks[2].rewards, HasSubstr("dense reward of the next observation: 100 of"));

  ASSERT_EQ(report.episodes.size(), 4U);
  EXPECT_EQ(report.episodes[0].name, "hopper/episode_0");
  EXPECT_EQ(report.episodes[0].figures.steps, 80);
  for (const EpisodeReplay& episode : report.episodes) {
    const ReplayFigures& figures = episode.figures;
    EXPECT_EQ(figures.one_step.observations.steps, figures.steps);
    EXPECT_EQ(figures.whole.observations.steps, figures.steps);
    EXPECT_LE(figures.one_step.observations.largest, 1e-9);
    EXPECT_LE(figures.whole.observations.largest, 1e-9);
    EXPECT_LE(figures.one_step.rewards.largest, 1e-9);
    EXPECT_EQ(figures.judged_steps, figures.steps);
    EXPECT_EQ(figures.first_beyond, -1);
    EXPECT_EQ(figures.warm_started + figures.rounded_starts + figures.clipped_starts, 0);
  }
}

TEST_F(Replay, TodaysInertiasDoNotMatchTheOldEnginesData) {
  ReplayOptions options = options_for(testing::fixture("env_fidelity.hdf5"), "hopper");
  options.physics = Physics::kModern;
  const ReplayReport report = replay(options);
  EXPECT_FALSE(report.passed);
  ASSERT_EQ(report.tasks.size(), 1U);
  EXPECT_GT(report.tasks[0].figures.one_step.observations.median, 1e-6);
  EXPECT_GE(report.tasks[0].figures.first_beyond, 0);
  EXPECT_THAT(report.failure(), HasSubstr("physics do not reproduce"));
}

TEST_F(Replay, OnlyTheTaskAskedFor) {
  const std::string path = testing::fixture("env_fidelity.hdf5");
  const ReplayReport report = replay(options_for(path, "maze2d-umaze-dense"));
  ASSERT_EQ(report.tasks.size(), 1U);
  EXPECT_EQ(report.tasks[0].task, "maze2d-umaze-dense");
  EXPECT_THAT(error_of<UsageError>(options_for(path, "maze2d-large")),
              HasSubstr("no group holds episodes of task \"maze2d-large\"; the tasks found are "
                        "hopper, maze2d-umaze"));
}

// a small fidelity file of one group
void write_fidelity(const std::string& path, const std::string& group, const Data& data,
                    const std::vector<int64_t>& fresh = {}, double fresh_shift = 0.0,
                    const std::vector<double>& init_qpos = {}) {
  Hdf5ResultWriter writer(path);
  const auto steps = static_cast<int64_t>(data.rows()) - 1;
  const auto add = [&](const std::string& name, const std::vector<double>& values, size_t width,
                       int64_t rows) {
    writer.add(group + "/episode_0/" + name, {rows, static_cast<int64_t>(width)},
               std::span(values).first(static_cast<size_t>(rows) * width));
  };
  add("actions", data.actions, data.action_dim, steps);
  add("observations", data.observations, data.state_dim, steps + 1);
  add("qpos", data.extra.at("infos/qpos"), data.extra.at("infos/qpos").size() / data.rows(),
      steps + 1);
  add("qvel", data.extra.at("infos/qvel"), data.extra.at("infos/qvel").size() / data.rows(),
      steps + 1);
  add("rewards", data.rewards, 1, steps);
  if (!init_qpos.empty()) add("init_qpos", init_qpos, init_qpos.size(), 1);
  if (!fresh.empty()) {
    std::vector<double> observations, rewards;
    for (const int64_t t : fresh) {
      // a step that the data do not have repeats the last one's figures
      const size_t row = static_cast<size_t>(std::min(t, steps - 1));
      for (size_t i = 0; i < data.state_dim; ++i) {
        observations.push_back(data.observations.at((row + 1) * data.state_dim + i) + fresh_shift);
      }
      rewards.push_back(data.rewards.at(row));
    }
    const auto count = static_cast<int64_t>(fresh.size());
    writer.add(group + "/episode_0/one_step_index", {count}, std::span<const int64_t>(fresh));
    add("one_step_observations", observations, data.state_dim, count);
    add("one_step_rewards", rewards, 1, count);
  }
  writer.close();
}

TEST_F(Replay, TheRecordersOwnStepsFromFreshStatesCount) {
  const Data data = record("halfcheetah", 30);
  write_fidelity(file("a.h5"), "halfcheetah", data, {0, 10, 20});
  EXPECT_TRUE(replay(options_for(file("a.h5"))).passed);
  write_fidelity(file("b.h5"), "halfcheetah", data, {0, 10, 20}, 1e-5);
  const ReplayReport report = replay(options_for(file("b.h5")));
  EXPECT_FALSE(report.passed);
  EXPECT_NEAR(report.episodes[0].figures.judged, 1e-5, 1e-8);
  EXPECT_EQ(report.episodes[0].figures.beyond_tolerance, 3);
  EXPECT_EQ(report.episodes[0].figures.warm_started, 0);
  EXPECT_LT(report.episodes[0].figures.whole.observations.largest, 1e-9);
  write_fidelity(file("c.h5"), "halfcheetah", data, {0, 29});
  EXPECT_THAT(error_of<DataError>(options_for(file("c.h5"))),
              HasSubstr("one_step_index' row 1 is 29; allowed are steps from 0 to 28"));
  write_fidelity(file("d.h5"), "halfcheetah", data, {}, 0.0, std::vector<double>(9, std::nan("")));
  EXPECT_THAT(error_of<DataError>(options_for(file("d.h5"))),
              HasSubstr("init_qpos' row 0 holds nan"));
}

TEST_F(Replay, WholeTrajectoriesTellWhatTheWarmStartHides) {
  const std::string path = testing::shared_data("fidelity_maze2d.hdf5");
  if (path.empty()) GTEST_SKIP() << "no fidelity_maze2d.hdf5";
  ReplayOptions options = options_for(path, "maze2d-umaze");
  options.tolerance = 1e-9;
  const ReplayReport report = replay(options);
  EXPECT_TRUE(report.passed) << report.failure();
  const ReplayFigures& pressed = report.episodes[1].figures;
  EXPECT_GT(pressed.one_step.observations.largest, 1e-7);
  EXPECT_EQ(pressed.whole.observations.largest, 0.0);
  EXPECT_GT(pressed.warm_started, 0);
  EXPECT_THAT(report.tasks[0].notes, Contains(HasSubstr("warm start")));
}

TEST_F(Replay, LocomotionRepeatsTheFidelityFile) {
  const std::string path = testing::shared_data("fidelity_locomotion.hdf5");
  if (path.empty()) GTEST_SKIP() << "no fidelity_locomotion.hdf5";
  ReplayOptions options = options_for(path);
  options.tolerance = 1e-9;
  const ReplayReport report = replay(options);
  EXPECT_TRUE(report.passed) << report.failure();
  ASSERT_EQ(report.tasks.size(), 3U);
  for (const TaskReplay& task : report.tasks) {
    EXPECT_GT(task.figures.one_step.terminals, 0);
    EXPECT_LE(task.figures.one_step.observations.median, 1e-13) << task.task;
    // one step of walker2d's deviates by 9e-8 for want of the warm start
    EXPECT_LE(task.figures.warm_started, task.task == "walker2d" ? 1 : 0);
  }
}

// ---- D4RL's layout: Maze2D ----------------------------------------------------------------------

TEST_F(Replay, MazeFilesRepeatBitForBitButForRounding) {
  ReplayOptions options = options_for(maze());
  options.tolerance = 1e-9;
  const ReplayReport report = replay(options);
  EXPECT_TRUE(report.passed) << report.failure();
  ASSERT_EQ(report.tasks.size(), 1U);
  const TaskReplay& task = report.tasks[0];
  EXPECT_EQ(task.task, "maze2d-umaze");  // from the file's name
  EXPECT_EQ(task.dataset_id, "");        // which is no D4RL id
  EXPECT_EQ(report.layout, "d4rl");
  EXPECT_FALSE(report.sha256.empty());
  EXPECT_GT(task.episodes, 5);
  EXPECT_EQ(task.figures.steps, 1500);
  // the row behind each trajectory repeats its last observation and is compared by its state
  EXPECT_EQ(task.figures.one_step.observations.steps, 1499);
  EXPECT_THAT(task.notes, Contains(HasSubstr("rows repeat the observation before them")));
  EXPECT_EQ(task.figures.rounded_starts, 0);
  // the file's float32 observations
  EXPECT_GT(task.figures.one_step.observations.largest, 1e-8);
  EXPECT_LE(task.figures.one_step.observations.beyond_rounding, 1e-12);
  EXPECT_LE(task.figures.whole.observations.beyond_rounding, 1e-9);
  EXPECT_LE(task.figures.one_step.rewards.beyond_rounding, 1e-6);
}

TEST_F(Replay, ItsTaskAttributeNamesAFileOfAnotherName) {
  std::filesystem::rename(maze(), file("x.hdf5"));
  EXPECT_EQ(replay(options_for(file("x.hdf5"))).tasks[0].task, "maze2d-umaze");
  Data data = read(file("x.hdf5"), {"infos/qpos", "infos/qvel"});
  write(data, file("y.hdf5"));
  EXPECT_THAT(error_of<UsageError>(options_for(file("y.hdf5"))), HasSubstr("give --task"));
  write(data, file("maze2d_umaze_dense_of_mine.hdf5"));
  EXPECT_EQ(replay(options_for(file("maze2d_umaze_dense_of_mine.hdf5"))).tasks[0].task,
            "maze2d-umaze-dense");
}

TEST_F(Replay, TellsWhichRewardsAMazeFileHas) {
  const auto convention_of = [](const std::string& path) {
    const ReplayReport report = replay(options_for(path, "maze2d-umaze"));
    EXPECT_TRUE(report.passed);
    return report.tasks[0];
  };
  EXPECT_THAT(convention_of(maze()).rewards,
              HasSubstr("the sparse reward of this observation, observations[t]: 1499 of 1499"));

  // the three others, made from its observations
  Data data = maze_data();
  Maze2dTask task = maze2d_task("maze2d-umaze");
  const auto reward_of = [&](size_t row) {
    return maze2d_reward(task, {data.observations[4 * row], data.observations[4 * row + 1]});
  };
  const auto of_next = [&](size_t row) { return reward_of(std::min(row + 1, data.rows() - 1)); };
  const std::vector<bool> ends = data.timeouts;
  for (size_t row = 0; row < data.rows(); ++row) {
    // behind an end the observation is the old one: the state tells
    const double x = data.extra["infos/qpos"][2 * std::min(row + 1, data.rows() - 1)];
    const double y = data.extra["infos/qpos"][2 * std::min(row + 1, data.rows() - 1) + 1];
    data.rewards[row] = ends[row] ? maze2d_reward(task, {x, y}) : of_next(row);
  }
  const TaskReplay sparse = convention_of(write(data, file("sparse next.hdf5")));
  EXPECT_THAT(sparse.rewards, HasSubstr("the sparse reward of the next observation: 1499"));
  EXPECT_EQ(sparse.figures.one_step.rewards.largest, 0.0);

  task.dense = true;
  for (size_t row = 0; row < data.rows(); ++row) data.rewards[row] = reward_of(row);
  const TaskReplay dense = convention_of(write(data, file("dense this.hdf5")));
  EXPECT_THAT(dense.rewards, HasSubstr("the dense reward of this observation"));
  EXPECT_LE(dense.figures.one_step.rewards.largest, 1e-6);
  EXPECT_LE(dense.figures.whole.rewards.largest, 1e-6);
  for (size_t row = 0; row < data.rows(); ++row) data.rewards[row] = of_next(row);
  EXPECT_THAT(convention_of(write(data, file("dense next.hdf5"))).rewards,
              HasSubstr("the dense reward of the next observation: 1480 of 1499"));

  // no goal in sight: it cannot be told; and no reward of a Maze2D at all
  data.rewards.assign(data.rows(), 7.0);
  EXPECT_THAT(convention_of(write(data, file("none.hdf5"))).rewards, HasSubstr("fit neither"));
  ReplayOptions options = options_for(maze("maze2d-large", 60));
  EXPECT_THAT(replay(options).tasks[0].rewards, HasSubstr("alike (the rows do not tell)"));
}

TEST_F(Replay, ADamagedActionFails) {
  Data data = maze_data();
  constexpr size_t kRow = 700;
  data.actions[2 * kRow] += data.actions[2 * kRow] > 0.0 ? -1e-3 : 1e-3;
  const ReplayReport report = replay(options_for(write(data, file("maze2d-umaze.hdf5"))));
  EXPECT_FALSE(report.passed);
  const ReplayFigures& figures = report.tasks[0].figures;
  EXPECT_EQ(figures.beyond_tolerance, 1);
  EXPECT_EQ(figures.judged_worst.row, static_cast<int64_t>(kRow));
  EXPECT_EQ(figures.one_step.worst.row, static_cast<int64_t>(kRow));
  EXPECT_THAT(report.failure(), HasSubstr("1 of 1499 steps"));
  EXPECT_THAT(report.failure(), HasSubstr("dimension 2"));
  // the whole trajectory leaves the record there, and only that one
  int failed = 0;
  for (const EpisodeReplay& episode : report.episodes) {
    failed += !episode.figures.passed;
    if (episode.figures.passed) continue;
    EXPECT_EQ(episode.first_row + episode.figures.first_beyond, static_cast<int64_t>(kRow));
  }
  EXPECT_EQ(failed, 1);
}

TEST_F(Replay, RoundedStatesAreToldFromWrongPhysics) {
  Data data = maze_data();
  data.float64.clear();
  ReplayOptions options = options_for(write(data, file("maze2d-umaze.hdf5")));
  options.tolerance = 1e-9;
  const ReplayReport rounded = replay(options);
  EXPECT_TRUE(rounded.passed) << rounded.failure();
  EXPECT_GT(rounded.tasks[0].figures.one_step.observations.beyond_rounding, 1e-8);
  EXPECT_GT(rounded.tasks[0].figures.rounded_starts, 100);
  EXPECT_THAT(rounded.tasks[0].notes, Contains(HasSubstr("4 of 4 columns")));

  // float32 values in a float64 array are as rounded as in one of float32
  Data same = read(file("maze2d-umaze.hdf5"), {"infos/qpos", "infos/qvel"});
  options.file = write(same, file("maze2d-umaze-64.hdf5"));
  EXPECT_EQ(replay(options).tasks[0].figures.rounded_starts,
            rounded.tasks[0].figures.rounded_starts);

  // that excuses nothing larger
  same.actions[2 * 700] += same.actions[2 * 700] > 0.0 ? -1e-4 : 1e-4;
  options.file = write(same, file("maze2d-umaze-bad.hdf5"));
  const ReplayReport report = replay(options);
  EXPECT_FALSE(report.passed);
  EXPECT_EQ(report.tasks[0].figures.beyond_tolerance, 1);
}

// ---- D4RL's layout: locomotion ------------------------------------------------------------------

TEST_F(Replay, NextObservationsServeTheLastRows) {
  const Data data = record("hopper", 300);
  const std::string path = write(data, file("hopper_random-v2.hdf5"));
  ReplayOptions options = options_for(path);
  options.tolerance = 1e-9;
  const ReplayReport report = replay(options);
  EXPECT_TRUE(report.passed) << report.failure();
  EXPECT_EQ(report.tasks[0].dataset_id, "hopper-random-v2");
  EXPECT_GT(report.tasks[0].episodes, 5);
  EXPECT_EQ(report.tasks[0].figures.one_step.observations.steps, 300);
  EXPECT_EQ(report.tasks[0].figures.one_step.terminals, 300);
  EXPECT_LE(report.tasks[0].figures.one_step.rewards.beyond_rounding, 1e-12);

  Data without = data;
  without.extra.erase("next_observations");
  write(without, path);
  EXPECT_EQ(replay(options).tasks[0].figures.one_step.observations.steps,
            300 - report.tasks[0].episodes);
}

TEST_F(Replay, ATerminalThatDiffersFails) {
  Data data = record("hopper", 120);
  const auto last = std::find(data.terminals.begin(), data.terminals.end(), true);
  ASSERT_NE(last, data.terminals.end());
  *last = false;
  const auto row = static_cast<size_t>(last - data.terminals.begin());
  data.timeouts[row] = true;  // a fall in the last allowed step is stored as a timeout
  EXPECT_TRUE(replay(options_for(write(data, file("hopper-a.hdf5")))).passed);

  data.terminals[5] = true;  // nobody fell there
  const ReplayReport report = replay(options_for(write(data, file("hopper-b.hdf5"))));
  EXPECT_FALSE(report.passed);
  EXPECT_EQ(report.tasks[0].figures.one_step.wrong_terminals, 1);
  EXPECT_EQ(report.tasks[0].figures.beyond_tolerance, 0);
  EXPECT_THAT(report.failure(), HasSubstr("terminals differ in 1 step"));
  EXPECT_THAT(to_text(report), ::testing::EndsWith("\nFAIL\n"));
}

TEST_F(Replay, ClippedVelocitiesAreCountedAndNotJudged) {
  Data data = record("hopper", 60);
  // the true velocity was larger than what the file has
  data.extra["infos/qvel"][6 * 10 + 3] = 10.0;
  const ReplayReport report = replay(options_for(write(data, file("hopper.hdf5"))));
  EXPECT_TRUE(report.passed) << report.failure();
  EXPECT_EQ(report.tasks[0].figures.clipped_starts, 1);
  EXPECT_GT(report.tasks[0].figures.one_step.observations.largest, 1.0);
  EXPECT_LE(report.tasks[0].figures.judged, 1e-9);
  EXPECT_GT(report.tasks[0].figures.start, 1.0);
  EXPECT_THAT(report.tasks[0].notes, Contains(HasSubstr("clip, and the true one unknown: 1 step")));
  EXPECT_EQ(report.tasks[0].figures.judged_steps, 59);
  data.extra["infos/qvel"][6 * 10 + 3] = 9.0;
  EXPECT_FALSE(replay(options_for(write(data, file("hopper.hdf5")))).passed);

  // nothing is left to judge
  for (size_t row = 0; row < data.rows(); ++row) data.extra["infos/qvel"][6 * row + 3] = -10.0;
  const ReplayReport none = replay(options_for(write(data, file("hopper.hdf5"))));
  EXPECT_FALSE(none.passed);
  EXPECT_EQ(none.tasks[0].figures.judged_steps, 0);
  EXPECT_EQ(none.tasks[0].figures.clipped_starts, 60);
  EXPECT_THAT(none.failure(),
              HasSubstr("no step could be judged (all start from clipped velocities)"));
}

TEST_F(Replay, ADamagedStateFailsThoughTheTrajectoryRepeats) {
  Data data = record("hopper", 60);
  data.extra["infos/qvel"][6 * 10 + 3] += 1e-3;
  const ReplayReport report = replay(options_for(write(data, file("hopper.hdf5"))));
  EXPECT_FALSE(report.passed);
  EXPECT_EQ(report.tasks[0].figures.beyond_tolerance, 1);
  EXPECT_EQ(report.tasks[0].figures.judged_worst.row, 10);
  EXPECT_LE(report.tasks[0].figures.whole.observations.beyond_rounding, 1e-9);
}

TEST_F(Replay, PhysicsThatRunAwayFailAStepAndNotTheReport) {
  Data data = record("halfcheetah", 40);
  data.extra["infos/qpos"][9 * 20] = 1e200;
  const ReplayReport report = replay(options_for(write(data, file("halfcheetah.hdf5"))));
  EXPECT_FALSE(report.passed);
  const ReplayFigures& figures = report.tasks[0].figures;
  EXPECT_EQ(figures.one_step.failed_steps, 1);
  EXPECT_THAT(figures.one_step.error, HasSubstr("step 20: MuJoCo"));
  EXPECT_EQ(figures.one_step.observations.steps, 39);
  EXPECT_EQ(figures.whole.failed_steps, 0);
  EXPECT_THAT(report.failure(), HasSubstr("the physics failed in 1 step"));

  // the first state is where the whole trajectory starts
  data.extra["infos/qpos"][0] = 1e200;
  const ReplayReport again = replay(options_for(write(data, file("halfcheetah.hdf5"))));
  EXPECT_EQ(again.tasks[0].figures.whole.failed_steps, 1);
  EXPECT_EQ(again.tasks[0].figures.one_step.failed_steps, 2);

  // no step at all: still a report
  for (size_t row = 0; row < data.rows(); ++row) data.extra["infos/qpos"][9 * row] = 1e200;
  const ReplayReport none = replay(options_for(write(data, file("halfcheetah.hdf5"))));
  EXPECT_FALSE(none.passed);
  EXPECT_EQ(none.tasks[0].figures.one_step.failed_steps, 40);
  EXPECT_THAT(none.failure(), HasSubstr("the physics failed in 40 steps"));
  EXPECT_THAT(none.failure(), Not(HasSubstr("clipped")));
}

TEST_F(Replay, FewerEpisodesAndStates) {
  ReplayOptions options = options_for(write(record("hopper", 300), file("hopper.hdf5")));
  const ReplayReport all = replay(options);
  options.episodes = 2;
  options.stride = 3;
  const ReplayReport few = replay(options);
  EXPECT_EQ(few.episodes.size(), 2U);
  EXPECT_EQ(few.tasks[0].episodes, 2);
  EXPECT_EQ(few.tasks[0].recorded, all.tasks[0].episodes);
  const ReplayFigures& figures = few.episodes[0].figures;
  EXPECT_EQ(figures.whole.observations.steps, figures.steps);
  EXPECT_EQ(figures.one_step.observations.steps, (figures.steps + 2) / 3);
  EXPECT_THAT(to_text(few), HasSubstr("one step from one state in 3"));
  options.stride = 0;
  EXPECT_THAT(error_of<UsageError>(options), HasSubstr("stride 0"));
}

// ---- D4RL's layout: AntMaze and Adroit ----------------------------------------------------------

TEST_F(Replay, AnAntMazeEpisodeGoesOnAtItsGoal) {
  const auto environment = EnvironmentRegistry::instance().make("antmaze-umaze");
  Data data = record(*environment, 1);
  // record() with goals: the ant starts at one, and is at none from row 20 on
  const std::vector<double> near = {data.extra["infos/qpos"][0], data.extra["infos/qpos"][1]};
  const std::vector<double> far = {0.0, 8.0};
  Data episode;
  episode.state_dim = data.state_dim;
  episode.action_dim = data.action_dim;
  episode.float64 = {"infos/qpos", "infos/qvel"};
  std::vector<double> observation(data.state_dim);
  const std::vector<double> action(data.action_dim, 0.25);
  environment->set_task_state(near);
  environment->set_state(data.extra["infos/qpos"], data.extra["infos/qvel"], observation);
  const auto add = [](std::vector<double>& to, const std::vector<double>& values) {
    to.insert(to.end(), values.begin(), values.end());
  };
  int reached = 0;
  for (int row = 0; row < 40; ++row) {
    const std::vector<double>& goal = row < 20 ? near : far;
    environment->set_task_state(goal);
    add(episode.observations, observation);
    add(episode.extra["infos/qpos"], environment->qpos());
    add(episode.extra["infos/qvel"], environment->qvel());
    add(episode.extra["infos/goal"], goal);
    add(episode.actions, action);
    const StepResult result = environment->step(action, observation);
    episode.rewards.push_back(result.reward);
    episode.terminals.push_back(result.terminated);
    episode.timeouts.push_back(row == 39);
    reached += result.terminated;
    environment->resume();
  }
  ASSERT_GT(reached, 5);
  const std::string name =
      "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5";
  const ReplayReport report = replay(options_for(write(episode, file(name))));
  EXPECT_TRUE(report.passed) << report.failure();
  EXPECT_EQ(report.tasks[0].task, "antmaze-umaze");
  ASSERT_EQ(report.episodes.size(), 1U);  // split by timeouts only
  EXPECT_EQ(report.tasks[0].figures.one_step.wrong_terminals, 0);
  EXPECT_EQ(report.tasks[0].figures.one_step.rewards.largest, 0.0);
  // the running simulation did not stop where the environment does
  EXPECT_EQ(report.tasks[0].figures.whole.observations.steps, 39);
  EXPECT_LE(report.tasks[0].figures.whole.observations.beyond_rounding, 1e-9);
  // and each of its steps had the goal of its row
  EXPECT_EQ(report.tasks[0].figures.whole.wrong_terminals, 0);
  EXPECT_EQ(report.tasks[0].figures.whole.rewards.largest, 0.0);
  EXPECT_THAT(to_text(report), HasSubstr("and terminals agree"));

  // without the goal nobody knows where the ends belong
  episode.extra.erase("infos/goal");
  const ReplayReport without = replay(options_for(write(episode, file(name))));
  EXPECT_TRUE(without.passed) << without.failure();
  EXPECT_EQ(without.tasks[0].figures.one_step.terminals, 0);
  EXPECT_THAT(without.tasks[0].notes, Contains(AllOf(HasSubstr("no array infos/goal"),
                                                     HasSubstr("terminals are not compared"))));
  EXPECT_THAT(to_text(without), Not(HasSubstr("terminals agree")));
}

TEST_F(Replay, TheGenuineDoorFile) {
  const std::string path = testing::shared_data("door-v0_demos_clipped.hdf5");
  if (path.empty()) GTEST_SKIP() << "no door-v0_demos_clipped.hdf5";
  ReplayOptions options = options_for(path);
  options.episodes = 2;
  if (!std::filesystem::exists(adroit_folder() + "/adroit_door.xml")) {
    GTEST_SKIP() << "no Adroit models in " << adroit_folder();
  }
  const ReplayReport report = replay(options);
  EXPECT_TRUE(report.passed) << report.failure();
  // demonstrations end by a terminal, though the task never ends
  EXPECT_EQ(report.tasks[0].figures.one_step.wrong_terminals, 0);
  EXPECT_EQ(report.tasks[0].figures.one_step.terminals, 600);
  EXPECT_LE(report.tasks[0].figures.one_step.observations.median, 1e-6);
  EXPECT_THAT(report.tasks[0].notes, Contains(HasSubstr("first observation")));
}

// ---- what is refused ----------------------------------------------------------------------------

TEST_F(Replay, RefusesWhatDoesNotFit) {
  const std::string path = maze("maze2d-umaze", 100);
  EXPECT_THAT(error_of<UsageError>(options_for(path, "hopper")),
              HasSubstr("observations have 4 columns and actions 2, task hopper has 11 and 3"));
  EXPECT_THAT(error_of<UsageError>(options_for(path, "hoper")), HasSubstr("did you mean"));
  EXPECT_THAT(error_of<UsageError>(options_for(testing::fixture("env_fidelity.hdf5"), "walker2d")),
              HasSubstr("no group holds episodes"));
  EXPECT_THAT(error_of<DataError>(options_for("no such.hdf5")), HasSubstr("no such file"));
  EXPECT_THAT(
      error_of<DataError>(options_for(testing::fixture("golden_log.safetensors"), "hopper")),
      HasSubstr("not an HDF5 file"));
  ReplayOptions named = options_for(path);
  named.dataset_id = "maze2d-umaze-v9";
  EXPECT_THAT(error_of<UsageError>(named), HasSubstr("no D4RL id"));
  named.task = "hopper";
  named.dataset_id = "maze2d-umaze-v1";
  EXPECT_THAT(error_of<UsageError>(named),
              HasSubstr("--task hopper and --dataset-id maze2d-umaze-v1 found"));

  // no states; a state that is none; a column too many
  Data data = record("hopper", 20);
  Data bad = data;
  bad.extra.erase("infos/qvel");
  EXPECT_THAT(error_of<DataError>(options_for(write(bad, file("hopper.hdf5")))),
              HasSubstr("key 'infos/qvel' is missing"));
  bad = data;
  bad.extra["infos/qpos"][6 * 7] = std::nan("");
  EXPECT_THAT(error_of<DataError>(options_for(write(bad, file("hopper.hdf5")))),
              HasSubstr("key 'infos/qpos' row 7 holds nan"));
  bad = data;
  bad.extra["infos/qvel"].assign(20 * 5, 0.0);
  EXPECT_THAT(error_of<DataError>(options_for(write(bad, file("hopper.hdf5")))),
              HasSubstr("key 'infos/qvel' has the shape [20, 5], task hopper asks for [20, 6]"));
  bad = data;
  bad.extra.erase("next_observations");
  std::fill(bad.timeouts.begin(), bad.timeouts.end(), true);
  EXPECT_THAT(error_of<DataError>(options_for(write(bad, file("hopper.hdf5")))),
              HasSubstr("no two states in a row"));
  Hdf5ResultWriter other(file("other.h5"));
  other.add("states", {1}, std::span<const double>(std::vector<double>{1.0}));
  other.close();
  EXPECT_THAT(error_of<DataError>(options_for(file("other.h5"))), HasSubstr("holds neither"));
}

TEST_F(Replay, ASignalStopsIt) {
  const std::string path = maze("maze2d-umaze", 1000);
  install_stop_handlers();
  std::raise(SIGTERM);
  EXPECT_THROW(replay(options_for(path)), Interrupted);
  clear_stop_request();
  EXPECT_TRUE(replay(options_for(path)).passed);
}

// ---- the report ---------------------------------------------------------------------------------

TEST_F(Replay, TellsPeopleAndPrograms) {
  ReplayOptions options = options_for(write(record("hopper", 800), file("hopper.hdf5")));
  const ReplayReport report = replay(options);
  ASSERT_GT(report.episodes.size(), 21U);
  const std::string text = to_text(report);
  EXPECT_THAT(text, HasSubstr("PASS: "));
  EXPECT_THAT(text, HasSubstr("task hopper"));
  EXPECT_THAT(text, HasSubstr("trajectory 9 "));
  EXPECT_THAT(text, Not(HasSubstr("trajectory 10 ")));
  EXPECT_THAT(text, HasSubstr("... (" + std::to_string(report.episodes.size() - 20) + " more)"));
  EXPECT_THAT(text, HasSubstr("first 10 steps"));

  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["passed"], true);
  EXPECT_EQ(json["physics"], "d4rl");
  EXPECT_EQ(json["tolerance"], 1e-6);
  EXPECT_EQ(json["episodes"].size(), report.episodes.size());
  const auto& episode = json["episodes"][1];
  EXPECT_EQ(episode["first_row"], report.episodes[1].first_row);
  EXPECT_EQ(episode["judged"]["largest"], report.episodes[1].figures.judged);
  EXPECT_EQ(episode["one_step"]["observations"]["largest"],
            report.episodes[1].figures.one_step.observations.largest);
  EXPECT_EQ(episode["one_step"]["terminals"]["differ"], 0);
  EXPECT_EQ(episode["whole_trajectory"]["first_step_beyond_tolerance"], nullptr);
  EXPECT_TRUE(episode["whole_trajectory"]["largest_within"].contains("200"));
  EXPECT_EQ(json["tasks"][0]["one_step"]["worst"]["task"], "hopper");
}

TEST(ReplayReport, NumbersThatAreNotFiniteBecomeNull) {
  ReplayReport report;
  report.file = "\xff.h5";
  report.tasks.emplace_back();
  report.tasks[0].figures.judged = INFINITY;
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["tasks"][0]["judged"]["largest"], nullptr);
  EXPECT_EQ(json["tasks"][0]["one_step"]["worst"], nullptr);
}

}  // namespace
}  // namespace drop
