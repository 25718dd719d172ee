#include "drop/env/vector_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>
#include <limits>
#include <numeric>

#include "drop/base/error.h"
#include "drop/base/system_report.h"

namespace drop {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// all that a few hundred steps with random actions give; ended episodes are left out
struct Record {
  std::vector<double> observations;
  std::vector<double> rewards;
  std::vector<int64_t> lengths;
  bool operator==(const Record&) const = default;
};

std::vector<double> random_actions(int64_t episodes, int64_t action_dim, RandomStream& stream) {
  std::vector<double> actions(static_cast<size_t>(episodes * action_dim));
  for (double& action : actions) action = stream.uniform(-1.0, 1.0);
  return actions;
}

Record roll_out(VectorEnvironment& environments, int64_t steps, uint64_t seed = 3) {
  const int64_t state_dim = environments.info().state_dim;
  Record record;
  record.observations.resize(static_cast<size_t>(environments.size() * state_dim));
  record.lengths.assign(static_cast<size_t>(environments.size()), 0);
  environments.reset(seed, record.observations);
  std::vector<int64_t> running(static_cast<size_t>(environments.size()));
  std::iota(running.begin(), running.end(), int64_t{0});
  RandomStream stream(11, "test");
  for (int64_t step = 0; step < steps && !running.empty(); ++step) {
    const auto count = static_cast<int64_t>(running.size());
    std::vector<double> observations(static_cast<size_t>(count * state_dim));
    std::vector<StepResult> results(running.size());
    environments.step(running, random_actions(count, environments.info().action_dim, stream),
                      observations, results);
    record.observations.insert(record.observations.end(), observations.begin(), observations.end());
    std::vector<int64_t> still_running;
    for (size_t k = 0; k < running.size(); ++k) {
      record.rewards.push_back(results[k].reward);
      ++record.lengths[static_cast<size_t>(running[k])];
      if (!results[k].terminated && !results[k].truncated) still_running.push_back(running[k]);
    }
    running = still_running;
  }
  return record;
}

TEST(VectorEnvironment, ResultsDoNotDependOnTheNumberOfThreads) {
  for (const std::string task : {"hopper", "maze2d-umaze-dense"}) {
    SCOPED_TRACE(task);
    VectorEnvironment one(task, {}, 7, 1);
    const Record expected = roll_out(one, 150);
    EXPECT_GT(expected.rewards.size(), 100u);
    for (const int64_t threads : {2, 3, 7}) {
      VectorEnvironment several(task, {}, 7, threads);
      EXPECT_EQ(several.threads(), threads);
      EXPECT_EQ(roll_out(several, 150), expected) << threads;
      // and again: nothing of the first episodes is left
      EXPECT_EQ(roll_out(several, 150), expected) << threads;
    }
    EXPECT_NE(roll_out(one, 150, 4).observations, expected.observations);
  }
}

TEST(VectorEnvironment, IsWhatSingleEnvironmentsAre) {
  VectorEnvironment environments("hopper", {}, 4, 2);
  std::vector<double> observations(4 * 11);
  environments.reset(9, observations);
  std::vector<std::unique_ptr<Environment>> singles;
  std::vector<std::vector<double>> states;
  for (size_t i = 0; i < 4; ++i) {
    singles.push_back(EnvironmentRegistry::instance().make("hopper"));
    RandomStream stream(9, "env", i);
    states.emplace_back(11);
    singles[i]->reset(stream, states[i]);
    const auto row = std::span(observations).subspan(i * 11, 11);
    EXPECT_EQ(states[i], std::vector<double>(row.begin(), row.end()));
  }
  // only some of them, in any order: each answers in its place, the others stand still
  const std::vector<int64_t> which = {3, 0, 2};
  const std::vector<double> still = environments[1].qpos();
  RandomStream stream(1, "test");
  for (int step = 0; step < 5; ++step) {
    const std::vector<double> actions = random_actions(3, 3, stream);
    std::vector<double> after(3 * 11);
    std::vector<StepResult> results(3);
    environments.step(which, actions, after, results);
    for (size_t k = 0; k < 3; ++k) {
      const auto i = static_cast<size_t>(which[k]);
      const StepResult result = singles[i]->step(std::span(actions).subspan(k * 3, 3), states[i]);
      EXPECT_EQ(results[k].reward, result.reward);
      EXPECT_EQ(states[i], std::vector<double>(after.begin() + static_cast<int64_t>(k) * 11,
                                               after.begin() + static_cast<int64_t>(k + 1) * 11));
      EXPECT_EQ(environments[which[k]].qvel(), singles[i]->qvel());
    }
  }
  EXPECT_EQ(environments[1].qpos(), still);
}

TEST(VectorEnvironment, TheThreadsComputeAsTheCallerDoes) {
  // a rounding mode chosen after the threads were started
  VectorEnvironment one("hopper", {}, 4, 1);
  VectorEnvironment four("hopper", {}, 4, 4);
  const Record nearest = roll_out(four, 30);
  std::fesetround(FE_UPWARD);
  const Record alone = roll_out(one, 30);
  const Record together = roll_out(four, 30);
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(alone, together);
  EXPECT_NE(alone.observations, nearest.observations);
}

TEST(VectorEnvironment, NumberOfThreads) {
  EXPECT_EQ(VectorEnvironment("maze2d-umaze", {}, 3, 8).threads(), 3);
  EXPECT_EQ(VectorEnvironment("maze2d-umaze", {}, 3, 2).threads(), 2);
  EXPECT_EQ(VectorEnvironment("maze2d-umaze", {}, 300, 0).threads(),
            std::min(300, available_cores()));
  EXPECT_EQ(VectorEnvironment("maze2d-umaze", {}, 1, 0).threads(), 1);
  EXPECT_EQ(VectorEnvironment("maze2d-umaze", {}, 3, 2).size(), 3);
  EXPECT_EQ(VectorEnvironment("maze2d-umaze", {}, 3, 2).info().name, "maze2d-umaze");
}

TEST(VectorEnvironment, AnErrorOfOneComesAfterTheStepOfAll) {
  for (const int64_t threads : {1, 3}) {
    VectorEnvironment environments("hopper", {}, 6, threads);
    std::vector<double> observations(6 * 11);
    environments.reset(0, observations);
    const std::vector<int64_t> which = {5, 4, 3, 2, 1, 0};
    std::vector<double> actions(6 * 3, 0.5);
    actions[4 * 3 + 2] = std::numeric_limits<double>::infinity();   // environment 1
    actions[2 * 3 + 1] = std::numeric_limits<double>::quiet_NaN();  // environment 3
    std::vector<StepResult> results(6);
    std::vector<std::vector<double>> before;
    for (int64_t i = 0; i < 6; ++i) before.push_back(environments[i].qpos());
    // the first in `which`
    EXPECT_THAT([&] { environments.step(which, actions, observations, results); },
                ThrowsMessage<RunError>(AllOf(HasSubstr("action[1]"), HasSubstr("nan"))));
    for (int64_t i = 0; i < 6; ++i) {
      EXPECT_EQ(environments[i].qpos() == before[static_cast<size_t>(i)], i == 1 || i == 3) << i;
    }
    // and on it goes
    environments.step(which, std::vector<double>(6 * 3, 0.5), observations, results);
    EXPECT_NE(environments[3].qpos(), before[3]);
  }
}

TEST(VectorEnvironment, RefusesWhatDoesNotFit) {
  VectorEnvironment environments("hopper", {}, 4, 2);
  std::vector<double> observations(4 * 11);
  std::vector<StepResult> results(2);
  EXPECT_THROW(environments.reset(0, std::span(observations).first(11)), RunError);
  environments.reset(0, observations);
  const std::vector<double> before = environments[0].qpos();
  const auto step = [&](const std::vector<int64_t>& which, size_t actions, size_t states,
                        size_t outcomes) {
    environments.step(which, std::vector<double>(actions), std::span(observations).first(states),
                      std::span(results).first(outcomes));
  };
  EXPECT_THROW(step({0, 1}, 5, 22, 2), RunError);
  EXPECT_THROW(step({0, 1}, 6, 23, 2), RunError);
  EXPECT_THROW(step({0, 1}, 6, 22, 1), RunError);
  EXPECT_THROW(step({0, -1}, 6, 22, 2), RunError);
  EXPECT_THAT(
      [&] {
        step({0, 4}, 6, 22, 2);
      },
      ThrowsMessage<RunError>(AllOf(HasSubstr("found 4"), HasSubstr("0 to 3"))));
  EXPECT_THAT([&] { step({0, 0}, 6, 22, 2); }, ThrowsMessage<RunError>(HasSubstr("once")));
  EXPECT_THROW(environments[4], RunError);
  EXPECT_THROW(environments[-1], RunError);
  // nothing has moved, and none is a number of environments, too
  EXPECT_EQ(environments[0].qpos(), before);
  step({}, 0, 0, 0);
  EXPECT_EQ(environments[0].qpos(), before);

  EXPECT_THROW(VectorEnvironment("hopper", {}, 0, 1), UsageError);
  EXPECT_THROW(VectorEnvironment("hopper", {}, 1, -1), UsageError);
  EXPECT_THROW(VectorEnvironment("hoper", {}, 1, 1), UsageError);
}

TEST(VectorEnvironment, WithoutAResetThereIsNoEpisode) {
  VectorEnvironment environments("maze2d-umaze", {}, 2, 2);
  std::vector<double> observations(8);
  std::vector<StepResult> results(2);
  EXPECT_THROW(
      environments.step(std::vector<int64_t>{0, 1}, std::vector<double>(4), observations, results),
      RunError);
}

}  // namespace
}  // namespace drop
