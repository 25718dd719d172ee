#include "env/adroit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "drop/base/error.h"
#include "drop/data/hdf5.h"
#include "env/fidelity.h"
#include "env/tasks.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::string> kTasks = {"pen", "hammer", "door", "relocate"};

std::unique_ptr<AdroitEnvironment> make(const std::string& task, Physics physics = Physics::kD4rl) {
  EnvironmentRegistry registry;
  register_adroit(registry);
  auto environment = registry.make(task, {physics, ""});
  return std::unique_ptr<AdroitEnvironment>(
      dynamic_cast<AdroitEnvironment*>(environment.release()));
}

std::vector<double> state_space(const Environment& environment) {
  return std::vector<double>(static_cast<size_t>(environment.info().state_dim));
}

std::span<const double> row(const std::vector<double>& values, size_t t, size_t width) {
  return std::span<const double>(values).subspan(t * width, width);
}

// sites and bodies as the last step left them, one simulator step behind qpos
class Behind {
 public:
  explicit Behind(const AdroitEnvironment& environment)
      : model_(environment.model()), data_(mj_makeData(&model_)), qvel_(environment.qvel()) {
    const std::vector<double> qpos = environment.qpos();
    for (size_t i = 0; i < qpos.size(); ++i) data_->qpos[i] = qpos[i] - 0.002 * qvel_[i];
    mj_kinematics(&model_, data_);
  }
  ~Behind() { mj_deleteData(data_); }
  Behind(const Behind&) = delete;
  Behind& operator=(const Behind&) = delete;

  const double* site(const char* name) const {
    return data_->site_xpos + 3 * mj_name2id(&model_, mjOBJ_SITE, name);
  }
  const double* body(const char* name) const {
    return data_->xpos + 3 * mj_name2id(&model_, mjOBJ_BODY, name);
  }
  double distance(const double* a, const double* b) const { return mju_dist3(a, b); }
  double squared_speed() const {
    double sum = 0.0;
    for (const double v : qvel_) sum += v * v;
    return sum;
  }

 private:
  const mjModel& model_;
  mjData* data_;
  std::vector<double> qvel_;
};

class Adroit : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(adroit_folder() + "/adroit_pen.xml")) {
      GTEST_SKIP() << "no Adroit models in " << adroit_folder()
                   << "; ./scripts/fetch_adroit.sh fetches them";
    }
  }
};

TEST(AdroitModels, MissingOnesAreNamedWithTheCure) {
  const char* const before = std::getenv("DROP_ADROIT_DIR");
  const std::string kept = before ? before : "";
  const testing::TemporaryFolder empty;
  setenv("DROP_ADROIT_DIR", empty.path().c_str(), 1);
  EXPECT_EQ(adroit_folder(), empty.path());
  for (const std::string& task : kTasks) {
    try {
      make(task);
      ADD_FAILURE() << "made without a model";
    } catch (const RunError& error) {
      EXPECT_THAT(error.what(), HasSubstr(empty.path().string() + "/adroit_" + task + ".xml"));
      EXPECT_THAT(error.what(), HasSubstr("./scripts/fetch_adroit.sh"));
      EXPECT_THAT(error.what(), HasSubstr("DROP_ADROIT_DIR"));
    }
  }
  setenv("DROP_ADROIT_DIR", "", 1);  // as if it were not set
  EXPECT_THAT(adroit_folder(), HasSubstr("third_party/adroit"));
  if (before) {
    setenv("DROP_ADROIT_DIR", kept.c_str(), 1);
  } else {
    unsetenv("DROP_ADROIT_DIR");
  }
}

TEST_F(Adroit, DimensionsAndModels) {
  struct Expected {
    std::string name;
    int64_t state_dim, action_dim, limit;
    int nq;
    double mass;
    std::vector<std::pair<std::string, int64_t>> variables;
  };
  const std::vector<Expected> all = {
      {"pen", 45, 24, 100, 30, 65.9, {{"infos/desired_orien", 4}}},
      {"hammer", 46, 26, 200, 33, 66.4, {{"infos/board_pos", 3}}},
      {"door", 39, 28, 200, 30, 79.4, {{"infos/door_body_pos", 3}}},
      {"relocate", 39, 30, 200, 36, 65.8, {{"infos/obj_pos", 3}, {"infos/target_pos", 3}}}};
  for (const Expected& e : all) {
    for (const Physics physics : {Physics::kD4rl, Physics::kModern}) {
      const auto environment = make(e.name, physics);
      const TaskInfo& info = environment->info();
      EXPECT_EQ(info.name, e.name);
      EXPECT_EQ(info.state_dim, e.state_dim);
      EXPECT_EQ(info.action_dim, e.action_dim);
      EXPECT_EQ(info.max_episode_steps, e.limit);
      EXPECT_DOUBLE_EQ(info.dt, 0.01);
      ASSERT_EQ(info.variables.size(), e.variables.size());
      for (size_t i = 0; i < e.variables.size(); ++i) {
        EXPECT_EQ(info.variables[i].key, e.variables[i].first);
        EXPECT_EQ(info.variables[i].size, e.variables[i].second);
        EXPECT_EQ(info.variables[i].moves, e.variables[i].first == "infos/obj_pos");
      }

      const mjModel& model = environment->model();
      EXPECT_EQ(model.nq, e.nq);
      EXPECT_EQ(model.nv, e.nq);
      EXPECT_EQ(model.nu, e.action_dim);
      EXPECT_EQ(model.opt.timestep, 0.002);
      EXPECT_EQ(model.opt.iterations, 20);
      EXPECT_EQ(model.opt.noslip_iterations, 20);
      EXPECT_EQ(model.opt.integrator, mjINT_EULER);
      double mass = 0.0;
      for (int i = 0; i < model.nbody; ++i) mass += model.body_mass[i];
      EXPECT_NEAR(mass, e.mass, 0.05) << e.name;

      // servos: the arm 500 and -200, the wrist 10, the fingers 1
      constexpr double kGains[3] = {500.0, 10.0, 1.0};
      constexpr double kBiases[3] = {-200.0, -10.0, -1.0};
      int of_kind[3] = {0, 0, 0};
      for (int i = 0; i < model.nu; ++i) {
        const std::string name = mj_id2name(&model, mjOBJ_ACTUATOR, i);
        const int kind = name.starts_with("A_AR") ? 0 : name.starts_with("A_WR") ? 1 : 2;
        ++of_kind[kind];
        EXPECT_EQ(model.actuator_gainprm[i * mjNGAIN], kGains[kind]);
        EXPECT_EQ(model.actuator_biasprm[i * mjNBIAS + 1], kBiases[kind]);
      }
      EXPECT_THAT(of_kind, ElementsAre(e.action_dim - 24, 2, 22)) << e.name;

      // old contacts need one margin for all geoms that may meet
      const std::set<double> margins(model.geom_margin, model.geom_margin + model.ngeom);
      if (physics == Physics::kD4rl) {
        EXPECT_EQ(margins, std::set<double>{0.00025});
        EXPECT_EQ(model.opt.disableflags, mjDSBL_NATIVECCD | mjDSBL_MULTICCD);
        continue;
      }
      EXPECT_EQ(model.opt.disableflags, 0);
      EXPECT_EQ(*margins.rbegin(), 0.0005);
      for (int i = 0; i < model.ngeom; ++i) {
        if (model.geom_margin[i] == 0.0005) continue;
        EXPECT_EQ(model.geom_margin[i], 0.0);
        EXPECT_STREQ(mj_id2name(&model, mjOBJ_GEOM, i), "board") << e.name;
      }
    }
  }
}

TEST_F(Adroit, MatchesTheIndependentReference) {
  const std::string file = testing::fixture("env_adroit.hdf5");
  for (const std::string& task : kTasks) {
    for (const std::string physics : {"d4rl", "modern"}) {
      const auto environment = make(task, physics == "d4rl" ? Physics::kD4rl : Physics::kModern);
      const auto state_dim = static_cast<size_t>(environment->info().state_dim);
      const auto action_dim = static_cast<size_t>(environment->info().action_dim);
      for (const std::string episode : {"episode_0", "episode_1"}) {
        const std::string group = task + "/" + physics + "/" + episode;
        const auto read = [&](const std::string& name) {
          return read_hdf5_array(file, group + "/" + name).values;
        };
        const std::vector<double> observations = read("observations");
        const std::vector<double> actions = read("actions");
        const std::vector<double> rewards = read("rewards");
        const std::vector<double> terminated = read("terminated");
        std::vector<double> observation = state_space(*environment);
        environment->set_task_state(read("variables"));
        environment->set_state(read("init_qpos"), read("init_qvel"), observation);
        EXPECT_LE(testing::largest_difference(observation, row(observations, 0, state_dim)), 1e-12);
        ASSERT_EQ(rewards.size(), 25u);
        for (size_t t = 0; t < rewards.size(); ++t) {
          const StepResult result = environment->step(row(actions, t, action_dim), observation);
          ASSERT_LE(testing::largest_difference(observation, row(observations, t + 1, state_dim)),
                    1e-12)
              << group << " step " << t;
          EXPECT_NEAR(result.reward, rewards[t], 1e-12) << group << " step " << t;
          EXPECT_EQ(result.terminated, terminated[t] != 0.0) << group << " step " << t;
        }
        EXPECT_LE(testing::largest_difference(environment->qpos(), read("last_qpos")), 1e-12);
        EXPECT_LE(testing::largest_difference(environment->qvel(), read("last_qvel")), 1e-10);
      }
    }
  }
}

// one step without action from a state of rest with these joints moved
StepResult step_from(AdroitEnvironment& environment,
                     const std::vector<std::pair<std::string, double>>& joints) {
  const mjModel& model = environment.model();
  std::vector<double> qpos(static_cast<size_t>(model.nq));
  const std::vector<double> qvel(static_cast<size_t>(model.nv));
  for (const auto& [name, value] : joints) {
    const int id = mj_name2id(&model, mjOBJ_JOINT, name.c_str());
    qpos[static_cast<size_t>(model.jnt_qposadr[id])] = value;
  }
  std::vector<double> observation = state_space(environment);
  environment.set_state(qpos, qvel, observation);
  return environment.step(std::vector<double>(static_cast<size_t>(model.nu)), observation);
}

TEST_F(Adroit, DoorRewards) {
  const auto door = make("door");
  std::set<double> bonuses;
  for (double angle = 0.0; angle < 1.5; angle += 0.05) {
    const StepResult result = step_from(*door, {{"door_hinge", angle}, {"latch", angle}});
    const Behind behind(*door);
    const double now = door->qpos()[28];
    const double bonus = now > 1.35 ? 20.0 : now > 1.0 ? 10.0 : now > 0.2 ? 2.0 : 0.0;
    bonuses.insert(bonus);
    const double expected = bonus -
                            0.1 * behind.distance(behind.site("S_grasp"), behind.site("S_handle")) -
                            0.1 * (now - 1.57) * (now - 1.57) - 1e-5 * behind.squared_speed();
    EXPECT_NEAR(result.reward, expected, 1e-12) << angle;
    EXPECT_FALSE(result.terminated);
  }
  EXPECT_THAT(bonuses, ElementsAre(0.0, 2.0, 10.0, 20.0));
}

TEST_F(Adroit, HammerRewards) {
  const auto hammer = make("hammer");
  std::set<double> bonuses;
  for (const double lift : {-0.02, 0.0, 0.1, 0.3}) {
    for (double nail = 0.0; nail < 0.09; nail += 0.003) {
      const StepResult result = step_from(*hammer, {{"OBJTy", lift}, {"nail_dir", nail}});
      const Behind behind(*hammer);
      const double left = behind.distance(behind.site("S_target"), behind.site("nail_goal"));
      const bool lifted = behind.body("Object")[2] > 0.04 && behind.site("tool")[2] > 0.04;
      const double bonus =
          (lifted ? 2.0 : 0.0) + (left < 0.02 ? 25.0 : 0.0) + (left < 0.01 ? 75.0 : 0.0);
      bonuses.insert(bonus);
      const double expected = bonus -
                              0.1 * behind.distance(behind.site("S_grasp"), behind.body("Object")) -
                              behind.distance(behind.site("tool"), behind.site("S_target")) -
                              10.0 * left - 0.01 * std::sqrt(behind.squared_speed());
      EXPECT_NEAR(result.reward, expected, 1e-12) << lift << " " << nail;
      EXPECT_FALSE(result.terminated);
    }
  }
  EXPECT_THAT(bonuses, ElementsAre(0.0, 2.0, 25.0, 27.0, 100.0, 102.0));
}

TEST_F(Adroit, RelocateRewards) {
  const auto relocate = make("relocate");
  relocate->set_task_state(std::array{0.05, 0.1, 0.035, -0.1, 0.1, 0.2});
  std::set<double> bonuses;
  for (const double lift : {0.0, 0.1, 0.16, 0.2}) {
    for (double shift = -0.3; shift < 0.05; shift += 0.03) {
      const StepResult result = step_from(*relocate, {{"OBJTx", shift}, {"OBJTz", lift}});
      const Behind behind(*relocate);
      const double* const ball = behind.body("Object");
      const double left = behind.distance(ball, behind.site("target"));
      EXPECT_NEAR(ball[0], 0.05 + shift, 1e-3);
      EXPECT_NEAR(ball[2], 0.035 + lift, 1e-3);
      const double bonus = (left < 0.1 ? 10.0 : 0.0) + (left < 0.05 ? 20.0 : 0.0);
      bonuses.insert(bonus);
      double expected = bonus - 0.1 * behind.distance(behind.site("S_grasp"), ball);
      if (ball[2] > 0.04) {
        expected +=
            1.0 - 0.5 * left - 0.5 * behind.distance(behind.site("S_grasp"), behind.site("target"));
      }
      EXPECT_NEAR(result.reward, expected, 1e-12) << lift << " " << shift;
      EXPECT_FALSE(result.terminated);
    }
  }
  EXPECT_THAT(bonuses, ElementsAre(0.0, 10.0, 30.0));
}

TEST_F(Adroit, PenRewardsAndDrop) {
  const auto pen = make("pen");
  std::set<double> bonuses;
  for (const double fall : {0.0, 0.05, 0.1, 0.17, 0.18, 0.2}) {
    for (double turn = -1.57; turn < 0.0; turn += 0.1) {
      // the pen's frame is turned: its x axis points down
      const StepResult result = step_from(*pen, {{"OBJTx", fall}, {"OBJRy", turn}});
      const Behind behind(*pen);
      const double* const object = behind.body("Object");
      EXPECT_NEAR(object[2], 0.25 - fall, 2e-3);
      double alignment = 0.0;
      for (int i = 0; i < 3; ++i) {
        alignment += (behind.site("object_top")[i] - behind.site("object_bottom")[i]) / 0.13 *
                     (behind.site("target_top")[i] - behind.site("target_bottom")[i]) / 0.13;
      }
      const double distance = behind.distance(object, behind.site("eps_ball"));
      const bool dropped = object[2] < 0.075;
      const bool near = distance < 0.075;
      const double bonus = (near && alignment > 0.9 ? 10.0 : 0.0) +
                           (near && alignment > 0.95 ? 50.0 : 0.0) - (dropped ? 5.0 : 0.0);
      bonuses.insert(bonus);
      EXPECT_NEAR(result.reward, bonus + alignment - distance, 1e-12) << fall << " " << turn;
      EXPECT_EQ(result.terminated, dropped) << fall;
    }
  }
  EXPECT_THAT(bonuses, ElementsAre(-5.0, 0.0, 10.0, 60.0));

  std::vector<double> observation = state_space(*pen);
  EXPECT_TRUE(step_from(*pen, {{"OBJTx", 0.2}}).terminated);
  EXPECT_THROW(pen->step(std::vector<double>(24), observation), RunError);
}

TEST_F(Adroit, ResetsDrawTheVariables) {
  struct Range {
    double low, high;
  };
  const std::vector<std::pair<std::string, std::vector<Range>>> all = {
      {"hammer", {{0.05, 0.05}, {0.0, 0.0}, {0.1, 0.25}}},
      {"door", {{-0.3, -0.2}, {0.25, 0.35}, {0.252, 0.35}}},
      {"relocate",
       {{-0.15, 0.15}, {-0.15, 0.3}, {0.035, 0.035}, {-0.2, 0.2}, {-0.2, 0.2}, {0.15, 0.35}}}};
  for (const auto& [task, ranges] : all) {
    const auto environment = make(task);
    // what was set before does not outlive a reset
    environment->set_task_state(std::vector<double>(ranges.size(), 5.0));
    RandomStream rng(3, "env");
    std::vector<double> observation = state_space(*environment);
    std::vector<double> low(ranges.size(), 9.0), high(ranges.size(), -9.0);
    for (int i = 0; i < 150; ++i) {
      environment->reset(rng, observation);
      const std::vector<double> state = environment->task_state();
      ASSERT_EQ(state.size(), ranges.size());
      for (size_t k = 0; k < ranges.size(); ++k) {
        low[k] = std::min(low[k], state[k]);
        high[k] = std::max(high[k], state[k]);
      }
      EXPECT_THAT(environment->qpos(), ::testing::Each(0.0));
      EXPECT_THAT(environment->qvel(), ::testing::Each(0.0));
    }
    for (size_t k = 0; k < ranges.size(); ++k) {
      const double width = ranges[k].high - ranges[k].low;
      EXPECT_GE(low[k], ranges[k].low) << task << k;
      EXPECT_LE(low[k], ranges[k].low + 0.07 * width) << task << k;
      EXPECT_LE(high[k], ranges[k].high) << task << k;
      EXPECT_GE(high[k], ranges[k].high - 0.07 * width) << task << k;
    }
  }

  // pen: turned about x, then about the new y, by up to 1 radian each
  const auto pen = make("pen");
  RandomStream rng(3, "env");
  std::vector<double> observation = state_space(*pen);
  std::array<double, 2> most = {0.0, 0.0};
  for (int i = 0; i < 150; ++i) {
    pen->reset(rng, observation);
    const std::vector<double> q = pen->task_state();
    EXPECT_NEAR(mju_norm(q.data(), 4), 1.0, 1e-12);
    EXPECT_NEAR(q[0] * q[3], q[1] * q[2], 1e-12);  // no turn about z
    const std::array<double, 2> turn = {2.0 * std::atan2(q[1], q[0]), 2.0 * std::atan2(q[2], q[0])};
    for (size_t k = 0; k < 2; ++k) {
      EXPECT_LE(std::abs(turn[k]), 1.0);
      most[k] = std::max(most[k], std::abs(turn[k]));
    }
    const std::array<double, 3> direction = {std::sin(turn[1]),
                                             -std::cos(turn[1]) * std::sin(turn[0]),
                                             std::cos(turn[1]) * std::cos(turn[0])};
    EXPECT_LE(testing::largest_difference(direction, std::span(observation).subspan(36, 3)), 1e-12);
  }
  EXPECT_GT(most[0], 0.93);
  EXPECT_GT(most[1], 0.93);
}

TEST_F(Adroit, EpisodesRepeatAndObjectsAreApart) {
  for (const std::string& task : kTasks) {
    const auto one = make(task);
    const auto two = make(task);
    const auto bystander = make(task);
    RandomStream first(5, "env"), second(5, "env"), other(6, "env"), actions(7, "actions");
    std::vector<double> a = state_space(*one), b = a, c = a;
    // a used object begins like a new one
    two->reset(other, b);
    two->step(std::vector<double>(static_cast<size_t>(two->info().action_dim), 0.5), b);
    one->reset(first, a);
    two->reset(second, b);
    bystander->reset(other, c);
    EXPECT_NE(one->task_state(), bystander->task_state());
    ASSERT_EQ(a, b);
    for (int t = 0; t < 20; ++t) {
      std::vector<double> action(static_cast<size_t>(one->info().action_dim));
      for (double& x : action) x = actions.uniform(-1.0, 1.0);
      const StepResult x = one->step(action, a);
      const StepResult y = two->step(action, b);
      ASSERT_EQ(a, b) << task;
      ASSERT_EQ(x.reward, y.reward) << task;
    }
  }
}

TEST_F(Adroit, TaskStateIsSetAndKept) {
  for (const std::string& task : kTasks) {
    const auto one = make(task);
    const auto two = make(task);
    RandomStream rng(8, "env");
    std::vector<double> a = state_space(*one), b = a;
    std::vector<double> action(static_cast<size_t>(one->info().action_dim));
    one->reset(rng, a);
    for (int t = 0; t < 10; ++t) {
      for (double& x : action) x = rng.uniform(-1.0, 1.0);
      one->step(action, a);
    }
    // variables and state make up all of a state but the solver's warm start
    const std::vector<double> state = one->task_state();
    const std::vector<double> qpos = one->qpos();
    const std::vector<double> qvel = one->qvel();
    for (int again = 0; again < 2; ++again) {
      if (again == 0) two->set_task_state(state);
      two->set_state(qpos, qvel, b);
      EXPECT_EQ(two->task_state(), state);
      EXPECT_EQ(two->qpos(), qpos);
      EXPECT_EQ(two->qvel(), qvel);
      const StepResult y = two->step(action, b);
      if (again == 0) {
        const StepResult x = one->step(action, a);
        EXPECT_NEAR(x.reward, y.reward, 1e-5) << task;
      }
      EXPECT_LE(testing::largest_difference(a, b), 1e-5) << task;
    }

    EXPECT_THROW(two->set_task_state(std::vector<double>(state.size() + 1)), RunError);
    EXPECT_THROW(two->set_task_state({}), RunError);
    EXPECT_THROW(two->set_task_state(std::vector<double>(state.size(), std::nan(""))), RunError);
    EXPECT_EQ(two->task_state(), state);
  }
}

TEST_F(Adroit, AnObservationTellsTheTaskState) {
  for (const std::string& task : kTasks) {
    const auto source = make(task);
    const auto reader = make(task);
    RandomStream rng(9, "env");
    std::vector<double> observation = state_space(*source), elsewhere = observation;
    reader->reset(rng, elsewhere);
    const std::vector<double> kept = reader->task_state();
    for (int i = 0; i < 5; ++i) {
      source->reset(rng, observation);
      std::vector<double> qpos = source->qpos();
      if (i > 0) {  // anywhere, at rest
        for (double& x : qpos) x = rng.uniform(-0.2, 0.2);
        source->set_state(qpos, source->qvel(), observation);
      }
      const auto found = reader->task_state_from(qpos, observation);
      ASSERT_TRUE(found.has_value());
      EXPECT_LE(testing::largest_difference(*found, source->task_state()), 1e-12) << task;
    }
    EXPECT_EQ(reader->task_state(), kept);
    EXPECT_EQ(reader->qpos(), std::vector<double>(reader->qpos().size(), 0.0));
    EXPECT_THROW(reader->task_state_from(std::vector<double>(3), observation), RunError);
    EXPECT_THROW(reader->task_state_from(reader->qpos(), std::vector<double>(3)), RunError);
  }
}

// ---- D4RL's own door-human-v0 -------------------------------------------------------------------

class GenuineDoor : public Adroit {
 protected:
  void SetUp() override {
    Adroit::SetUp();
    const std::string file = testing::shared_data("door-v0_demos_clipped.hdf5");
    if (file.empty()) GTEST_SKIP() << "door-v0_demos_clipped.hdf5 is not beside the checkout";
    if (IsSkipped()) return;
    qpos_ = read_hdf5_array(file, "infos/qpos").values;
    qvel_ = read_hdf5_array(file, "infos/qvel").values;
    actions_ = read_hdf5_array(file, "actions").values;
    observations_ = read_hdf5_array(file, "observations").values;
    rewards_ = read_hdf5_array(file, "rewards").values;
    const std::vector<double> terminals = read_hdf5_array(file, "terminals").values;
    size_t first = 0;
    for (size_t t = 0; t < terminals.size(); ++t) {
      if (terminals[t] == 0.0) continue;
      demonstrations_.emplace_back(first, t + 1);
      first = t + 1;
    }
    ASSERT_EQ(demonstrations_.size(), 25u);
  }

  std::span<const double> qpos(size_t t) const { return row(qpos_, t, 30); }
  std::span<const double> qvel(size_t t) const { return row(qvel_, t, 30); }
  std::span<const double> action(size_t t) const { return row(actions_, t, 28); }
  std::span<const double> observed(size_t t) const { return row(observations_, t, 39); }

  void set_door(Environment& door, size_t first) const {
    door.set_task_state(door.task_state_from(qpos(first), observed(first)).value());
  }

  std::vector<double> qpos_, qvel_, actions_, observations_, rewards_;
  std::vector<std::pair<size_t, size_t>> demonstrations_;
};

TEST_F(GenuineDoor, ObservationsAreThoseOfTheRecordedStates) {
  const auto door = make("door");
  std::vector<double> observation = state_space(*door);
  std::vector<double> behind(30);
  for (const auto& [first, end] : demonstrations_) {
    set_door(*door, first);
    for (size_t t = first; t < end; t += 3) {
      // joints of the row itself, sites from one simulator step before it
      for (size_t i = 0; i < 30; ++i) behind[i] = qpos(t)[i] - 0.002 * qvel(t)[i];
      door->set_state(behind, qvel(t), observation);
      std::copy_n(qpos(t).begin() + 1, 27, observation.begin());
      observation[27] = qpos(t)[29];
      observation[28] = qpos(t)[28];
      observation[38] = qpos(t)[28] > 1.0 ? 1.0 : -1.0;
      ASSERT_LE(testing::largest_difference(observation, observed(t)), 2e-7) << t;
    }
  }
}

TEST_F(GenuineDoor, OneStepFromRecordedStates) {
  const auto door = make("door");
  std::vector<double> observation = state_space(*door);
  double largest = 0.0;
  double largest_reward = 0.0;
  for (const auto& [first, end] : demonstrations_) {
    set_door(*door, first);
    for (size_t t = first; t + 1 < end; t += 3) {
      door->set_state(qpos(t), qvel(t), observation);
      const StepResult result = door->step(action(t), observation);
      EXPECT_FALSE(result.terminated);
      largest = std::max(largest, testing::largest_difference(observation, observed(t + 1)));
      largest_reward = std::max(largest_reward, std::abs(result.reward - rewards_[t]));
    }
  }
  // 7.6e-7 and 1.0e-6 over all steps; the file holds float32
  EXPECT_LE(largest, 1e-6);
  EXPECT_LE(largest_reward, 2e-6);
}

TEST_F(GenuineDoor, WholeTrajectories) {
  const auto door = make("door");
  std::vector<double> observation = state_space(*door);
  std::array<double, 3> largest{};
  std::vector<double> last;
  for (size_t k = 0; k < demonstrations_.size(); k += 2) {
    const size_t first = demonstrations_[k].first;
    set_door(*door, first);
    door->set_state(qpos(first), qvel(first), observation);
    double deviation = 0.0;
    for (size_t t = 0; t < 200; ++t) {
      door->step(action(first + t), observation);
      deviation =
          std::max(deviation, testing::largest_difference(observation, observed(first + t + 1)));
      constexpr std::array<size_t, 3> kWithin = {10, 50, 200};
      for (size_t i = 0; i < 3; ++i) {
        if (t < kWithin[i]) largest[i] = std::max(largest[i], deviation);
      }
    }
    last.push_back(deviation);
  }
  EXPECT_LE(largest[0], 1e-6);
  EXPECT_LE(largest[1], 2e-6);
  EXPECT_LE(largest[2], 2e-4);  // rounding grows in contact
  std::sort(last.begin(), last.end());
  EXPECT_LE(last[last.size() / 2], 2e-6);
}

TEST_F(GenuineDoor, TodaysContactsDeviate) {
  const auto door = make("door", Physics::kModern);
  std::vector<double> observation = state_space(*door);
  std::vector<double> deviations;
  for (const auto& [first, end] : demonstrations_) {
    set_door(*door, first);
    for (size_t t = first; t + 1 < end; t += 40) {
      door->set_state(qpos(t), qvel(t), observation);
      door->step(action(t), observation);
      deviations.push_back(testing::largest_difference(observation, observed(t + 1)));
    }
  }
  std::sort(deviations.begin(), deviations.end());
  EXPECT_GT(deviations[deviations.size() / 2], 1e-4);
  EXPECT_GT(deviations.back(), 1e-2);
}

}  // namespace
}  // namespace drop
