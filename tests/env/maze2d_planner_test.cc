#include "env/maze2d_planner.h"

#include <gtest/gtest.h>

#include <cmath>

#include "env/fidelity.h"
#include "env/maze2d.h"

namespace drop {
namespace {

TEST(PlanMazePath, FollowsTheCorridor) {
  const Maze maze = maze2d_task("maze2d-umaze").maze;
  EXPECT_EQ(plan_maze_path(maze, {1, 1}, {3, 1}),
            (std::vector<MazeCell>{{1, 2}, {1, 3}, {2, 3}, {3, 3}, {3, 2}, {3, 1}}));
  // already there: one way-point, the target
  EXPECT_EQ(plan_maze_path(maze, {2, 3}, {2, 3}), (std::vector<MazeCell>{{2, 3}}));
  // a position may round into a wall: out by the shortest way
  EXPECT_EQ(plan_maze_path(maze, {2, 2}, {1, 3}), (std::vector<MazeCell>{{2, 3}, {1, 3}}));
}

TEST(PlanMazePath, BreaksTiesInD4rlsOrder) {
  const Maze maze = maze2d_task("maze2d-open").maze;
  // y-1 and y+1 (columns) come before x-1 and x+1 (rows)
  EXPECT_EQ(plan_maze_path(maze, {1, 1}, {2, 2}), (std::vector<MazeCell>{{1, 2}, {2, 2}}));
  EXPECT_EQ(plan_maze_path(maze, {3, 3}, {2, 2}), (std::vector<MazeCell>{{3, 2}, {2, 2}}));
  // around a pillar: y-1 is chosen over y+1 where both ways are as long, x-1 over x+1
  const Maze pillar({"#####", "#...#", "#.#.#", "#..G#", "#####"});
  EXPECT_EQ(plan_maze_path(pillar, {1, 2}, {3, 2}),
            (std::vector<MazeCell>{{1, 1}, {2, 1}, {3, 1}, {3, 2}}));
  EXPECT_EQ(plan_maze_path(pillar, {2, 1}, {2, 3}),
            (std::vector<MazeCell>{{1, 1}, {1, 2}, {1, 3}, {2, 3}}));
}

TEST(PlanMazePath, ReachesEveryCellOfEveryMazeByAShortestWay) {
  for (const std::string& name : maze2d_task_names()) {
    const Maze maze = maze2d_task(name).maze;
    for (const MazeCell start : maze.open_cells()) {
      const std::vector<MazeCell> path = plan_maze_path(maze, start, maze.goal());
      ASSERT_EQ(path.back(), maze.goal()) << name;
      // one step shorter from the first cell on
      if (path.size() > 1) {
        EXPECT_EQ(plan_maze_path(maze, path.front(), maze.goal()).size(), path.size() - 1) << name;
      }
      for (const MazeCell cell : path) EXPECT_FALSE(maze.is_wall(cell)) << name;
    }
  }
}

TEST(MazeCellOf, RoundsHalvesToEven) {
  EXPECT_EQ(maze_cell_of({1.49, 1.51}), (MazeCell{1, 2}));
  EXPECT_EQ(maze_cell_of({0.5, 1.5}), (MazeCell{0, 2}));
  EXPECT_EQ(maze_cell_of({2.5, -0.4}), (MazeCell{2, 0}));
}

TEST(WaypointController, ShiftsWaypointsButNotTheTarget) {
  WaypointController controller(maze2d_task("maze2d-umaze").maze);
  RandomStream rng(0, "generate");
  controller.act({1.0, 1.0}, {0.0, 0.0}, {3.05, 0.95}, rng);
  const std::vector<MazePoint>& waypoints = controller.waypoints();
  ASSERT_EQ(waypoints.size(), 6U);
  const std::vector<MazeCell> cells = {{1, 2}, {1, 3}, {2, 3}, {3, 3}, {3, 2}};
  for (size_t k = 0; k < cells.size(); ++k) {
    for (size_t i = 0; i < 2; ++i) {
      const double shift = centre_of(cells[k])[i] - waypoints[k][i];
      EXPECT_TRUE(shift >= 0.0 && shift < 0.2) << shift;
    }
    EXPECT_NE(centre_of(cells[k]), waypoints[k]);
  }
  EXPECT_EQ(waypoints.back(), (MazePoint{3.0, 1.0}));
}

TEST(WaypointController, PlansOnlyForAnotherTargetCell) {
  WaypointController controller(maze2d_task("maze2d-umaze").maze);
  RandomStream rng(0, "generate");
  controller.act({1.0, 1.0}, {0.0, 0.0}, {3.0, 1.0}, rng);
  const std::vector<MazePoint> plan = controller.waypoints();
  // a jump of the position (a reset) and another target in the same cell keep the plan
  controller.act({3.0, 3.0}, {0.0, 0.0}, {3.1, 0.9}, rng);
  EXPECT_EQ(controller.waypoints(), plan);
  controller.act({3.0, 3.0}, {0.0, 0.0}, {1.0, 1.0}, rng);
  EXPECT_NE(controller.waypoints(), plan);
  EXPECT_EQ(controller.waypoints().size(), 4U);
}

TEST(WaypointController, ControlLaw) {
  WaypointController controller(maze2d_task("maze2d-umaze").maze);
  RandomStream rng(0, "generate");
  // 10 * (way-point - position) - velocity, clipped
  const auto first = controller.act({1.0, 1.95}, {0.5, 0.25}, {1.0, 2.0}, rng);
  EXPECT_DOUBLE_EQ(first.action[0], -0.5);
  EXPECT_NEAR(first.action[1], 10.0 * 0.05 - 0.25, 1e-12);
  EXPECT_TRUE(first.reached);
  const auto far = controller.act({1.0, 1.0}, {0.0, 0.0}, {1.0, 2.0}, rng);
  EXPECT_EQ(far.action[1], 1.0);
  EXPECT_FALSE(far.reached);
  // near, but it moved by 0.1 or more since the last step
  EXPECT_FALSE(controller.act({1.0, 1.95}, {0.0, 0.0}, {1.0, 2.0}, rng).reached);
  EXPECT_TRUE(controller.act({1.0, 1.95}, {0.0, 0.0}, {1.0, 2.0}, rng).reached);
}

// returns of the controller on its way to the goal
testing::ReturnStatistics controller_returns(const std::string& task, int episodes,
                                             bool plan_at_reset) {
  Maze2dEnvironment environment(maze2d_task(task));
  const Maze& maze = environment.task().maze;
  RandomStream starts(0, "env");
  RandomStream shifts(0, "generate");
  WaypointController controller(maze);
  const auto follow = [&](std::span<const double> s, std::span<double> action) {
    const auto decision =
        controller.act({s[0], s[1]}, {s[2], s[3]}, centre_of(maze.goal()), shifts);
    std::copy(decision.action.begin(), decision.action.end(), action.begin());
  };
  return testing::return_statistics(environment, starts, episodes, follow, [&] {
    if (plan_at_reset) controller = WaypointController(maze);
  });
}

TEST(WaypointController, ReferenceMaximum) {
  // D4RL facts, row 16: one controller for all episodes, whose plan outlives each reset
  struct Expected {
    std::string task;
    double mean, standard_error;
    int episodes;
  };
  for (const Expected& e :
       {Expected{"maze2d-umaze", 184.5, 8.9, 300}, Expected{"maze2d-medium", 266.7, 18.5, 150},
        Expected{"maze2d-large", 313.8, 23.8, 150}}) {
    const testing::ReturnStatistics found = controller_returns(e.task, e.episodes, false);
    EXPECT_NEAR(found.mean, e.mean, 3.0 * std::hypot(found.standard_error(), e.standard_error))
        << e.task;
  }
}

TEST(WaypointController, FreshPlansDoBetter) {
  // the same row's figure with a new plan at each reset; it has no standard error, 200 episodes are
  // assumed, which the spread given for the other figure suggests
  const testing::ReturnStatistics found = controller_returns("maze2d-umaze", 200, true);
  EXPECT_NEAR(found.mean, 229.2, 3.0 * found.standard_error_against(200));
  EXPECT_GT(found.mean, controller_returns("maze2d-umaze", 200, false).mean);
}

}  // namespace
}  // namespace drop
