#include "env/maze2d_layout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "drop/base/error.h"

namespace drop {
namespace {

TEST(Maze, FindsOpenCellsAndGoal) {
  const Maze maze({"####", "#G.#", "##.#", "####"});
  EXPECT_EQ(maze.rows(), 4);
  EXPECT_EQ(maze.columns(), 4);
  EXPECT_EQ(maze.goal(), (MazeCell{1, 1}));
  EXPECT_EQ(maze.open_cells(), (std::vector<MazeCell>{{1, 2}, {2, 2}, {1, 1}}));
  EXPECT_TRUE(maze.is_wall({2, 1}));
  EXPECT_FALSE(maze.is_wall({1, 1}));
  EXPECT_TRUE(maze.is_wall({-1, 0}));
  EXPECT_TRUE(maze.is_wall({0, 4}));
}

TEST(Maze2dTask, GoalsSizesAndTimeLimits) {
  struct Expected {
    std::string name;
    MazeCell goal;
    int rows, columns;
    size_t open_cells;
    int64_t limit_v0, limit;
  };
  // D4RL facts, tables 2.1 and 2.2
  for (const Expected& e : {Expected{"maze2d-open", {2, 3}, 5, 7, 15, 150, 150},
                            Expected{"maze2d-umaze", {1, 1}, 5, 5, 7, 150, 300},
                            Expected{"maze2d-medium", {6, 6}, 8, 8, 26, 250, 600},
                            Expected{"maze2d-large", {7, 9}, 9, 12, 46, 600, 800},
                            Expected{"maze2d-eval-umaze", {1, 3}, 5, 5, 7, 300, 300},
                            Expected{"maze2d-eval-medium", {1, 6}, 8, 8, 26, 600, 600},
                            Expected{"maze2d-eval-large", {1, 9}, 9, 12, 47, 800, 800}}) {
    for (const bool dense : {false, true}) {
      const std::string name = e.name + (dense ? "-dense" : "");
      const Maze2dTask task = maze2d_task(name);
      EXPECT_EQ(task.name, name);
      EXPECT_EQ(task.dense, dense);
      EXPECT_EQ(task.maze.goal(), e.goal) << name;
      EXPECT_EQ(task.maze.rows(), e.rows) << name;
      EXPECT_EQ(task.maze.columns(), e.columns) << name;
      EXPECT_EQ(task.maze.open_cells().size(), e.open_cells) << name;
      EXPECT_EQ(task.time_limit, e.limit) << name;
      EXPECT_EQ(maze2d_task(name, name + "-v1").time_limit, e.limit) << name;
      EXPECT_EQ(maze2d_task(name, name + "-v0").time_limit, e.limit_v0) << name;
      EXPECT_EQ(maze2d_task(name, "my_own_file").time_limit, e.limit) << name;
      EXPECT_EQ(maze2d_task(name, "hopper-medium-v0").time_limit, e.limit) << name;
    }
  }
}

TEST(Maze2dTask, LayoutsAreClosed) {
  for (const std::string& name : maze2d_task_names()) {
    const Maze maze = maze2d_task(name).maze;
    for (const MazeCell cell : maze.open_cells()) {
      EXPECT_TRUE(cell.row > 0 && cell.row + 1 < maze.rows()) << name;
      EXPECT_TRUE(cell.column > 0 && cell.column + 1 < maze.columns()) << name;
    }
  }
}

TEST(Maze2dTask, UnknownNamesAreUsageErrors) {
  EXPECT_THROW(maze2d_task("hopper"), UsageError);
  EXPECT_THROW(maze2d_task("maze2d"), UsageError);
  EXPECT_THROW(maze2d_task("maze2d-umaze-v1"), UsageError);
}

TEST(Maze2dReward, SparseAndDenseInClosedForm) {
  const Maze2dTask sparse = maze2d_task("maze2d-umaze");
  const Maze2dTask dense = maze2d_task("maze2d-umaze-dense");
  EXPECT_EQ(maze2d_reward(sparse, {1.5, 1.0}), 1.0);  // the edge belongs to the goal
  EXPECT_EQ(maze2d_reward(sparse, {1.0, 1.5000001}), 0.0);
  EXPECT_EQ(maze2d_reward(dense, {1.0, 1.0}), 1.0);
  EXPECT_DOUBLE_EQ(maze2d_reward(dense, {4.0, 5.0}), std::exp(-5.0));
}

}  // namespace
}  // namespace drop
