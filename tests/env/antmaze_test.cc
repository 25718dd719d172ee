#include "env/antmaze.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "drop/base/error.h"
#include "env/fidelity.h"
#include "support/paths.h"

namespace drop {
namespace {

std::unique_ptr<Environment> make(const std::string& task, const std::string& dataset_id = "",
                                  Physics physics = Physics::kD4rl) {
  return EnvironmentRegistry::instance().make(task, {physics, dataset_id});
}

// D4RL facts, table 3.1
const std::vector<std::string> kUmaze = {"11111", "1R001", "11101", "1G001", "11111"};
const std::vector<std::string> kMedium = {"11111111", "1R011001", "10010001", "11000111",
                                          "10010001", "10100101", "100010G1", "11111111"};
const std::vector<std::string> kLarge = {"111111111111", "1R0001000001", "101101010101",
                                         "100000010001", "101111011101", "100101000001",
                                         "110101010111", "100100010G01", "111111111111"};

// height 0.6: the ant stands free, legs drawn in
std::vector<double> ant_at(double x, double y) {
  return {x, y, 0.6, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1};
}

TEST(AntMaze, FloorPlanHasTheWallsAndTheEpisodesGoal) {
  const auto environment = make("antmaze-umaze");
  environment->set_task_state(std::array<double, 2>{1.5, 8.25});
  const FloorPlan plan = environment->floor_plan().value();
  EXPECT_EQ(plan.goal, (std::array<double, 2>{1.5, 8.25}));
  ASSERT_EQ(plan.walls.size(), 25u - 7u);
  EXPECT_EQ(plan.walls[0], (std::array<double, 4>{-4.0, -4.0, 2.0, 2.0}));
}

TEST(AntMaze, TasksAndDimensions) {
  const std::vector<std::string> names = {"antmaze-umaze",       "antmaze-umaze-diverse",
                                          "antmaze-medium-play", "antmaze-medium-diverse",
                                          "antmaze-large-play",  "antmaze-large-diverse"};
  EXPECT_EQ(antmaze_task_names(), names);
  for (const std::string& name : names) {
    const auto environment = make(name);
    const TaskInfo& info = environment->info();
    EXPECT_EQ(info.name, name);
    EXPECT_EQ(info.state_dim, 29);
    EXPECT_EQ(info.action_dim, 8);
    EXPECT_EQ(info.max_episode_steps, name.starts_with("antmaze-umaze") ? 700 : 1000);
    EXPECT_DOUBLE_EQ(info.dt, 0.1);
    ASSERT_EQ(info.variables.size(), 1u);
    EXPECT_EQ(info.variables[0].key, "infos/goal");
    EXPECT_EQ(info.variables[0].size, 2);
    // an observation does not tell the goal
    EXPECT_EQ(environment->task_state_from(ant_at(0, 0), std::vector<double>(29)), std::nullopt);
  }
  EXPECT_THROW(antmaze_task("antmaze-medium"), UsageError);
  EXPECT_THROW(antmaze_task("maze2d-medium"), UsageError);
}

TEST(AntMaze, WallsStandWhereTheLayoutSays) {
  for (const auto& [name, layout] :
       {std::pair{"antmaze-umaze", kUmaze}, std::pair{"antmaze-medium-play", kMedium},
        std::pair{"antmaze-large-diverse", kLarge}}) {
    std::set<std::pair<double, double>> expected;
    MazePoint start{};
    MazePoint goal{};
    for (size_t row = 0; row < layout.size(); ++row) {
      for (size_t column = 0; column < layout[row].size(); ++column) {
        const double x = 4.0 * static_cast<double>(column) - 4.0;
        const double y = 4.0 * static_cast<double>(row) - 4.0;
        if (layout[row][column] == '1') expected.insert({x, y});
        if (layout[row][column] == 'R') start = {x, y};
        if (layout[row][column] == 'G') goal = {x, y};
      }
    }
    const AntMazeEnvironment environment(antmaze_task(name), Physics::kD4rl);
    const mjModel& model = environment.model();
    std::set<std::pair<double, double>> found;
    int boxes = 0;
    for (int geom = 0; geom < model.ngeom; ++geom) {
      if (model.geom_type[geom] != mjGEOM_BOX) continue;
      ++boxes;
      found.insert({model.geom_pos[3 * geom], model.geom_pos[3 * geom + 1]});
      EXPECT_EQ(model.geom_pos[3 * geom + 2], 1.0);
      EXPECT_EQ(model.geom_size[3 * geom], 2.0);
      EXPECT_EQ(model.geom_size[3 * geom + 1], 2.0);
      EXPECT_EQ(model.geom_size[3 * geom + 2], 1.0);
      EXPECT_EQ(model.geom_contype[geom], 1);
      EXPECT_EQ(model.geom_conaffinity[geom], 1);
    }
    EXPECT_EQ(found, expected) << name;
    EXPECT_EQ(boxes, static_cast<int>(expected.size())) << name;
    EXPECT_EQ(start, (MazePoint{0.0, 0.0}));
    // before any reset the goal is its cell's centre
    EXPECT_EQ(environment.task_state(), (std::vector<double>{goal[0], goal[1]})) << name;
    EXPECT_EQ(antmaze_centre(environment.task().maze.goal()), goal) << name;
  }
}

TEST(AntMaze, WallsHold) {
  // driven into the wall left of the first cell, its face at x = -2
  const auto environment = make("antmaze-umaze");
  std::vector<double> observation(29);
  std::vector<double> still(14, 0.0);
  still[0] = -8.0;
  environment->set_state(ant_at(0, 0), still, observation);
  const std::vector<double> no_action(8, 0.0);
  double lowest = 0.0;
  for (int t = 0; t < 20; ++t) {
    environment->step(no_action, observation);
    lowest = std::min(lowest, observation[0]);
  }
  EXPECT_LT(lowest, -0.5);
  EXPECT_GT(lowest, -2.0 + 0.2);  // the torso's radius is 0.25
}

TEST(AntMaze, StartsNearTheOriginAndGoalsLieInTheirCell) {
  for (const auto& [name, centre] : {std::pair{"antmaze-umaze", MazePoint{0, 8}},
                                     std::pair{"antmaze-umaze-diverse", MazePoint{0, 8}},
                                     std::pair{"antmaze-medium-diverse", MazePoint{20, 20}},
                                     std::pair{"antmaze-large-play", MazePoint{32, 24}}}) {
    const auto environment = make(name);
    RandomStream rng(0, "env");
    std::vector<double> observation(29);
    constexpr int kResets = 3000;
    for (size_t i = 0; i < 2; ++i) {
      double sum = 0.0, squares = 0.0, lowest = 2.0, highest = 0.0;
      for (int n = 0; n < kResets; ++n) {
        environment->reset(rng, observation);
        ASSERT_LE(std::abs(observation[0]), 0.1);
        ASSERT_LE(std::abs(observation[1]), 0.1);
        const double offset = environment->task_state()[i] - centre[i];
        sum += offset;
        squares += offset * offset;
        lowest = std::min(lowest, offset);
        highest = std::max(highest, offset);
      }
      // U(0, 1) + U(0, 0.5): mean 0.75, variance (1 + 0.25) / 12
      EXPECT_GE(lowest, 0.0);
      EXPECT_LE(highest, 1.5);
      EXPECT_LT(lowest, 0.1);
      EXPECT_GT(highest, 1.4);
      EXPECT_NEAR(sum / kResets, 0.75, 0.025);
      EXPECT_NEAR(squares / kResets - 0.75 * 0.75, 1.25 / 12.0, 0.04);
    }
  }
}

TEST(AntMaze, VersionsKeepOrRedrawTheGoal) {
  std::vector<double> observation(29);
  const auto goals_of = [&](const std::string& id, uint64_t seed, bool set_first) {
    const auto environment = make("antmaze-medium-play", id);
    if (set_first) environment->set_task_state(std::array{3.0, 4.0});
    RandomStream rng(seed, "env");
    std::set<std::vector<double>> goals;
    for (int n = 0; n < 5; ++n) {
      environment->reset(rng, observation);
      goals.insert(environment->task_state());
    }
    return goals;
  };
  for (const std::string id : {"antmaze-medium-play-v0", "antmaze-medium-play-v1"}) {
    EXPECT_EQ(goals_of(id, 0, false).size(), 1u) << id;
    EXPECT_NE(goals_of(id, 0, false), goals_of(id, 1, false)) << id;
    EXPECT_EQ(goals_of(id, 0, true), (std::set<std::vector<double>>{{3.0, 4.0}})) << id;
  }
  for (const std::string id : {"antmaze-medium-play-v2", "", "other-v0"}) {
    EXPECT_EQ(goals_of(id, 0, false).size(), 5u) << id;
    EXPECT_EQ(goals_of(id, 0, true), goals_of(id, 0, false)) << id;
  }
}

TEST(AntMaze, RewardAndEndExactlyAtTheGoalsRadius) {
  const auto environment = make("antmaze-umaze");
  std::vector<double> observation(29);
  const std::vector<double> still(14, 0.0);
  const std::vector<double> no_action(8, 0.0);
  // where one step from here leads to
  environment->set_state(ant_at(4, 4), still, observation);
  environment->step(no_action, observation);
  const double x = observation[0];
  const double y = observation[1];

  const auto step_with_goal = [&](double goal_x, double goal_y) {
    environment->set_task_state(std::array{goal_x, goal_y});
    environment->set_state(ant_at(4, 4), still, observation);
    EXPECT_EQ(environment->task_state(), (std::vector<double>{goal_x, goal_y}));
    const StepResult result = environment->step(no_action, observation);
    EXPECT_EQ(observation[0], x);
    EXPECT_EQ(result.reward, result.terminated ? 1.0 : 0.0);
    EXPECT_FALSE(result.truncated);
    return result.terminated;
  };
  EXPECT_TRUE(step_with_goal(x, y));
  EXPECT_TRUE(step_with_goal(x - 0.5, y));
  EXPECT_TRUE(step_with_goal(x, y + 0.5));
  EXPECT_TRUE(step_with_goal(x + 0.35, y + 0.35));
  EXPECT_FALSE(step_with_goal(x - 0.5 - 1e-12, y));
  EXPECT_FALSE(step_with_goal(x + 0.36, y + 0.36));
  EXPECT_FALSE(step_with_goal(x, y + 1e6));
  // the end is the episode's
  step_with_goal(x, y);
  EXPECT_THROW(environment->step(no_action, observation), RunError);
}

TEST(AntMaze, RefusesGoalsThatAreNone) {
  const auto environment = make("antmaze-umaze");
  const std::vector<double> before = environment->task_state();
  EXPECT_THROW(environment->set_task_state(std::array{1.0}), RunError);
  EXPECT_THROW(environment->set_task_state(std::array{1.0, 2.0, 3.0}), RunError);
  EXPECT_THROW(environment->set_task_state({}), RunError);
  EXPECT_THROW(environment->set_task_state(std::array{1.0, std::nan("")}), RunError);
  EXPECT_THROW(environment->set_task_state(std::array{1.0, HUGE_VAL}), RunError);
  EXPECT_EQ(environment->task_state(), before);
}

TEST(AntMaze, ActionsAreScaledToTheControlRange) {
  const auto environment = make("antmaze-umaze");
  std::vector<double> observation(29);
  environment->set_state(ant_at(0, 0), std::vector<double>(14, 0.0), observation);
  environment->step(std::array{0.5, -4.0, 1.0, 0.0, 0.0, 0.0, 0.0, -0.1}, observation);
  // the same with bare MuJoCo
  const auto& simulated = dynamic_cast<const MujocoEnvironment&>(*environment);
  MujocoSimulation bare(MujocoModel(&simulated.model(), [](const mjModel*) {}));
  bare.set_state(ant_at(0, 0), std::vector<double>(14, 0.0));
  bare.step(std::array{15.0, -30.0, 30.0, 0.0, 0.0, 0.0, 0.0, -3.0}, 5);
  for (size_t i = 0; i < 15; ++i) EXPECT_EQ(observation[i], bare.qpos()[i]);
  for (size_t i = 0; i < 14; ++i) EXPECT_EQ(observation[15 + i], bare.qvel()[i]);
}

TEST(AntMaze, MatchesTheIndependentReference) {
  const std::string file = testing::fixture("env_ant.hdf5");
  struct Episode {
    std::string task;
    std::string group;
    Physics physics;
    int steps;
    bool terminates;
  };
  for (const Episode& e :
       {Episode{"antmaze-umaze", "antmaze-umaze/episode_0", Physics::kD4rl, 50, false},
        Episode{"antmaze-umaze", "antmaze-umaze/episode_1", Physics::kD4rl, 15, true},
        Episode{"antmaze-medium-play", "antmaze-medium-play_modern/episode_0", Physics::kModern, 44,
                true}}) {
    const auto environment = make(e.task, "", e.physics);
    environment->set_task_state(read_hdf5_array(file, e.group + "/goal").values);
    const testing::Deviation found =
        testing::deviation_from(*environment, file, e.group, "rewards", true, e.terminates);
    EXPECT_EQ(found.steps, e.steps) << e.group;
    EXPECT_LE(found.whole_trajectory, 1e-9) << e.group;
    EXPECT_LE(found.one_step, 1e-9) << e.group;
    EXPECT_EQ(found.reward, 0.0) << e.group;
    EXPECT_EQ(found.one_step_reward, 0.0) << e.group;
    EXPECT_EQ(found.wrong_ends, 0) << e.group;
  }
  // the two physics are told apart
  const testing::Deviation wrong =
      testing::deviation_from(*make("antmaze-umaze", "", Physics::kModern), file,
                              "antmaze-umaze/episode_0", "rewards", true, false);
  EXPECT_GT(wrong.one_step, 1e-5);
}

}  // namespace
}  // namespace drop
