#include "env/mujoco_environment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "drop/base/error.h"
#include "drop/data/dataset_id.h"

namespace drop {
namespace {

// the contract of Environment, held by every registered task
class EveryTask : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (family_of(GetParam()) != Family::kAdroit) return;
    try {
      make();
    } catch (const RunError& error) {
      GTEST_SKIP() << error.what();  // no models on this machine
    }
  }

  std::unique_ptr<Environment> make() const {
    return EnvironmentRegistry::instance().make(GetParam());
  }
};

std::vector<double> zeros(int64_t size) {
  return std::vector<double>(static_cast<size_t>(size), 0.0);
}

// observations and rewards of `steps` random steps, resetting where episodes end
std::vector<double> rollout(Environment& environment, uint64_t seed, int steps) {
  RandomStream starts(seed, "env");
  RandomStream actions(seed, "actions");
  std::vector<double> observation = zeros(environment.info().state_dim);
  std::vector<double> action = zeros(environment.info().action_dim);
  std::vector<double> record;
  bool over = true;
  for (int t = 0; t < steps; ++t) {
    if (over) environment.reset(starts, observation);
    record.insert(record.end(), observation.begin(), observation.end());
    for (double& a : action) a = actions.uniform(-1.2, 1.2);
    const StepResult result = environment.step(action, observation);
    record.push_back(result.reward);
    over = result.terminated || result.truncated;
  }
  return record;
}

TEST_P(EveryTask, SameSeedSameTrajectory) {
  const auto one = make();
  const auto two = make();
  EXPECT_EQ(rollout(*one, 3, 200), rollout(*two, 3, 200));
  EXPECT_NE(rollout(*one, 3, 200), rollout(*two, 4, 200));
  // a used environment is as good as a fresh one
  EXPECT_EQ(rollout(*one, 5, 200), rollout(*make(), 5, 200));
}

TEST_P(EveryTask, EnvironmentsDoNotInfluenceEachOther) {
  const auto alone = make();
  std::vector<double> expected = zeros(alone->info().state_dim);
  const std::vector<double> push(static_cast<size_t>(alone->info().action_dim), 0.3);
  RandomStream rng(1, "env");
  alone->reset(rng, expected);
  const auto one = make();
  const auto two = make();
  std::vector<double> observation = expected;
  std::vector<double> ignored = expected;
  RandomStream same(1, "env");
  one->reset(same, observation);
  RandomStream other(2, "env");
  two->reset(other, ignored);
  for (int t = 0; t < 10; ++t) {
    alone->step(push, expected);
    one->step(push, observation);
    std::vector<double> reverse = push;
    for (double& a : reverse) a = -a;
    const StepResult result = two->step(reverse, ignored);
    if (result.terminated) two->reset(other, ignored);
  }
  EXPECT_EQ(observation, expected);
}

TEST_P(EveryTask, StateRoundTrip) {
  const auto environment = make();
  const auto copy = make();
  RandomStream rng(9, "env");
  std::vector<double> observation = zeros(environment->info().state_dim);
  std::vector<double> copied = observation;
  const std::vector<double> push(static_cast<size_t>(environment->info().action_dim), -0.5);
  environment->reset(rng, observation);
  environment->step(push, observation);
  const std::vector<double> qpos = environment->qpos();
  const std::vector<double> qvel = environment->qvel();
  copy->set_task_state(environment->task_state());
  copy->set_state(qpos, qvel, copied);
  // Adroit's bodies and sites are seen one simulator step behind a running episode's state
  const bool lags = family_of(GetParam()) == Family::kAdroit;
  for (size_t i = 0; i < observation.size(); ++i)
    EXPECT_NEAR(copied[i], observation[i], lags ? 0.05 : 0.0);
  EXPECT_EQ(copy->qpos(), qpos);
  EXPECT_EQ(copy->qvel(), qvel);
  // both go on alike, up to the solver's warm start; ant's speed counts from where the engine last
  // saw the torso, which a running episode leaves a little behind its state
  const double reward = environment->step(push, observation).reward;
  EXPECT_NEAR(copy->step(push, copied).reward, reward, GetParam() == "ant" ? 1e-3 : 1e-10);
  for (size_t i = 0; i < observation.size(); ++i) EXPECT_NEAR(copied[i], observation[i], 1e-10);
}

TEST_P(EveryTask, ClipsActions) {
  const auto environment = make();
  std::vector<double> inside = zeros(environment->info().state_dim);
  std::vector<double> beyond = inside;
  std::vector<double> action(static_cast<size_t>(environment->info().action_dim), 1.0);
  RandomStream rng(4, "env");
  environment->reset(rng, inside);
  const double reward = environment->step(action, inside).reward;
  for (double& a : action) a = 40.0;
  RandomStream again(4, "env");
  environment->reset(again, beyond);
  EXPECT_EQ(environment->step(action, beyond).reward, reward);
  EXPECT_EQ(beyond, inside);
}

TEST_P(EveryTask, TimeLimitTruncatesAndEndsTheEpisode) {
  const auto environment = make();
  RandomStream rng(0, "env");
  std::vector<double> observation = zeros(environment->info().state_dim);
  std::vector<double> action = zeros(environment->info().action_dim);
  EXPECT_THROW(environment->step(action, observation), RunError);  // no episode yet
  environment->reset(rng, observation);
  StepResult result;
  int64_t steps = 0;
  while (!result.terminated && !result.truncated) {
    result = environment->step(action, observation);
    ++steps;
    ASSERT_LE(steps, environment->info().max_episode_steps);
    EXPECT_EQ(result.truncated, steps == environment->info().max_episode_steps);
  }
  EXPECT_THROW(environment->step(action, observation), RunError);
  environment->reset(rng, observation);
  EXPECT_NO_THROW(environment->step(action, observation));
}

TEST_P(EveryTask, RefusesBadInputWithoutEndingTheEpisode) {
  const auto environment = make();
  RandomStream rng(0, "env");
  std::vector<double> observation = zeros(environment->info().state_dim);
  std::vector<double> action = zeros(environment->info().action_dim);
  std::vector<double> too_long = zeros(environment->info().state_dim + 1);
  EXPECT_THROW(environment->reset(rng, too_long), RunError);
  environment->reset(rng, observation);
  EXPECT_THROW(environment->step(action, too_long), RunError);
  EXPECT_THROW(environment->step(too_long, observation), RunError);
  EXPECT_THROW(environment->step({}, observation), RunError);

  std::vector<double> qpos = environment->qpos();
  std::vector<double> qvel = environment->qvel();
  EXPECT_THROW(environment->set_state(too_long, qvel, observation), RunError);
  EXPECT_THROW(environment->set_state(qpos, {}, observation), RunError);
  EXPECT_THROW(environment->set_state(qpos, qvel, too_long), RunError);
  qvel.back() = std::numeric_limits<double>::infinity();
  EXPECT_THROW(environment->set_state(qpos, qvel, observation), RunError);

  action.back() = std::nan("");
  try {
    environment->step(action, observation);
    FAIL() << "a NaN action passed";
  } catch (const RunError& error) {
    const std::string where = "action[" + std::to_string(action.size() - 1) + "] is nan";
    EXPECT_NE(std::string(error.what()).find(where), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(GetParam()), std::string::npos) << error.what();
  }
  action.back() = 0.0;
  EXPECT_NO_THROW(environment->step(action, observation));
}

TEST_P(EveryTask, PhysicsThatRunAwayEndTheEpisode) {
  const auto environment = make();
  RandomStream rng(0, "env");
  std::vector<double> observation = zeros(environment->info().state_dim);
  const std::vector<double> action = zeros(environment->info().action_dim);
  environment->reset(rng, observation);
  environment->step(action, observation);
  std::vector<double> qpos = environment->qpos();
  qpos[0] = 1e200;
  EXPECT_THROW(
      {
        environment->set_state(qpos, environment->qvel(), observation);
        environment->step(action, observation);
      },
      RunError);
  EXPECT_THROW(environment->step(action, observation), RunError);
  EXPECT_THROW(environment->resume(), RunError);
  environment->reset(rng, observation);
  EXPECT_NO_THROW(environment->step(action, observation));
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryTask,
                         ::testing::ValuesIn(EnvironmentRegistry::instance().names()),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(MujocoEnvironment, ResumeGoesOnBehindTheEndAsIfThereWereNone) {
  for (const std::string task : {"hopper", "maze2d-umaze"}) {
    const auto environment = EnvironmentRegistry::instance().make(task);
    const auto reference = EnvironmentRegistry::instance().make(task);
    std::vector<double> observation = zeros(environment->info().state_dim);
    std::vector<double> expected = observation;
    const std::vector<double> action(static_cast<size_t>(environment->info().action_dim), 0.5);
    EXPECT_THROW(environment->resume(), RunError);
    RandomStream rng(0, "env");
    environment->reset(rng, observation);
    reference->set_state(environment->qpos(), environment->qvel(), expected);

    // after each step, or only where the episode ends, comes to the same bit for bit
    int ends = 0;
    for (int64_t step = 0; step < environment->info().max_episode_steps + 3; ++step) {
      const StepResult result = environment->step(action, observation);
      const StepResult other = reference->step(action, expected);
      EXPECT_EQ(result.reward, other.reward);
      ASSERT_EQ(observation, expected) << task << ", step " << step;
      environment->resume();
      if (!other.terminated && !other.truncated) continue;
      EXPECT_THROW(reference->step(action, expected), RunError);
      reference->resume();
      ++ends;
    }
    EXPECT_GE(ends, 1);
  }
}

}  // namespace
}  // namespace drop
