// drop_train from data to a run's folder

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "apps/workbench.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/dataset_id.h"

namespace drop {
namespace {

using testing::checkpoint_of;
using ::testing::ElementsAre;
using testing::expect_done;
using testing::expect_same_state;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Json;
using testing::ProcessResult;
using testing::set;
using testing::TensorFile;

class DropTrain : public testing::Workbench {};

TEST_F(DropTrain, WritesTheWholeRunFolder) {
  const std::string run = file("my run");
  const ProcessResult result = train(run, set({"checkpoint.keep=2"}));
  expect_done(result);
  EXPECT_EQ(result.out, run + "\n");
  EXPECT_THAT(result.err, HasSubstr("train"));

  // the last two checkpoints and step 0, in pairs, and nothing half-written
  EXPECT_THAT(testing::names_in(run + "/checkpoints"),
              ElementsAre("step_000000000.safetensors", "step_000000000.training.safetensors",
                          "step_000000040.safetensors", "step_000000040.training.safetensors",
                          "step_000000060.safetensors", "step_000000060.training.safetensors"));
  std::vector<std::string> names = testing::names_in(run);
  const auto events = std::find_if(names.begin(), names.end(), [](const std::string& name) {
    return name.starts_with("events.out.tfevents.");
  });
  ASSERT_NE(events, names.end());
  EXPECT_GT(std::filesystem::file_size(run + "/" + *events), 500u);
  names.erase(events);
  EXPECT_THAT(names,
              ElementsAre("checkpoints", "config.yaml", "decomposition.json", "eval", "metrics.csv",
                          "provenance.json", "run.lock", "status.json", "train.log"));
  EXPECT_THAT(testing::names_in(run + "/eval"), IsEmpty());

  const Json status = testing::json_of(run + "/status.json");
  EXPECT_EQ(status["state"], "finished");
  EXPECT_EQ(status["step"], 60);
  EXPECT_GT(status["steps_per_second"].get<double>(), 0.0);
  EXPECT_EQ(status["eta_s"], 0.0);

  EXPECT_THAT(read_text_file(run + "/train.log"), HasSubstr("sub-tasks"));
}

TEST_F(DropTrain, ProvenanceSaysWhatMadeTheRun) {
  const std::string run = testing::finished_run();
  const Json provenance = testing::json_of(run + "/provenance.json");
  for (const char* key : {"commit", "dirty", "drop", "compiler", "cpu", "libtorch", "mujoco",
                          "device", "precision", "command_line"}) {
    ASSERT_TRUE(provenance.contains(key)) << key;
    EXPECT_NE(provenance[key].get<std::string>(), "") << key;
  }
  EXPECT_EQ(provenance["device"], "cpu");
  EXPECT_EQ(provenance["precision"], "fp32");
  EXPECT_EQ(provenance["engine"], "fused");
  EXPECT_EQ(provenance["threads"], "1");
  EXPECT_EQ(provenance["seed"], 0);
  EXPECT_THAT(provenance["command_line"].get<std::string>(), HasSubstr("--out " + run));
  EXPECT_EQ(provenance["data"]["path"], testing::maze_data());
  EXPECT_EQ(provenance["data"]["sha256"], sha256_of_file(testing::maze_data()));
  EXPECT_EQ(provenance["data"]["rows"], 3000);

  // the checkpoint says the same
  const TensorFile checkpoint = TensorFile::read(checkpoint_of(run, 60));
  EXPECT_EQ(checkpoint.metadata("dataset_sha256"), provenance["data"]["sha256"]);
  EXPECT_EQ(checkpoint.metadata("step"), "60");
  EXPECT_EQ(checkpoint.metadata("task"), "maze2d-umaze-dense");
  EXPECT_DOUBLE_EQ(std::stod(checkpoint.metadata("reward_scale")),
                   provenance["reward_scale"].get<double>());
  EXPECT_EQ(checkpoint.metadata("config"), read_text_file(run + "/config.yaml"));
}

TEST_F(DropTrain, MetricsHaveEveryNameAtEveryLoggedStep) {
  std::map<int64_t, std::set<std::string>> names;
  double wall = 0.0;
  for (const testing::MetricRow& row : testing::metrics_of(testing::finished_run())) {
    EXPECT_TRUE(names[row.step].insert(row.name).second) << row.step << " " << row.name;
    EXPECT_TRUE(std::isfinite(std::stod(row.value))) << row.name;
    EXPECT_GE(row.wall_time_s, wall);
    wall = row.wall_time_s;
  }
  std::vector<int64_t> steps;
  for (const auto& [step, found] : names) {
    steps.push_back(step);
    for (const char* name :
         {"loss/behaviour", "loss/td", "conservative/gap", "conservative/multiplier", "score/mean",
          "embedding/nearest_distance", "embedding/saturated_share", "speed/steps_per_second"}) {
      EXPECT_TRUE(found.contains(name)) << name << " at " << step;
    }
  }
  EXPECT_THAT(steps, ElementsAre(10, 20, 30, 40, 50, 60));
}

TEST_F(DropTrain, TheResolvedConfigMakesTheSameRun) {
  const std::string run = testing::finished_run();
  const std::string again = file("again");
  expect_done(testing::run_program("drop_train",
                                   {"--config", run + "/config.yaml", "--out", again, "--quiet"}));
  expect_same_state(run, again, 60);
  EXPECT_EQ(read_text_file(run + "/config.yaml"), read_text_file(again + "/config.yaml"));
  EXPECT_EQ(testing::repeatable_metrics_of(run), testing::repeatable_metrics_of(again));
}

TEST_F(DropTrain, DryRunPrintsALoadableConfigAndWritesNothing) {
  const std::string run = file("run");
  const ProcessResult result = train(run, set({"train.discount=0.5", "dataset=missing.hdf5"}) +
                                              testing::Arguments{"--dry-run", "--seed", "7"});
  expect_done(result);
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, HasSubstr("  discount: 0.5\n"));
  EXPECT_THAT(result.out, HasSubstr("\nseed: 7\n"));
  EXPECT_FALSE(std::filesystem::exists(run));
  const std::string resolved = write("resolved.yaml", result.out);
  const ProcessResult again =
      testing::run_program("drop_train", {"--config", resolved, "--dry-run"});
  expect_done(again);
  EXPECT_EQ(again.out, result.out);
}

TEST_F(DropTrain, WithoutOutTheFolderFollowsFromTheConfig) {
  testing::ProcessOptions options;
  options.folder = std::filesystem::path(config()).parent_path().string();
  const ProcessResult result = testing::run_program(
      "drop_train",
      testing::Arguments{"--config", config(), "--seed", "3"} + set({"train.steps=1"}), options);
  expect_done(result);
  EXPECT_EQ(result.out, "runs/apps/maze/drop/seed_3\n");
  EXPECT_TRUE(std::filesystem::exists(checkpoint_of(file("runs/apps/maze/drop/seed_3"), 1)));
}

TEST_F(DropTrain, QuietPrintsNothingButTheFolder) {
  const std::string run = file("run");
  const ProcessResult result = train(run, testing::Arguments{"--quiet"} + set({"train.steps=1"}));
  expect_done(result);
  EXPECT_EQ(result.out, run + "\n");
  EXPECT_EQ(result.err, "");
  // the run's own log keeps what the terminal is spared
  EXPECT_THAT(read_text_file(run + "/train.log"), HasSubstr("sub-tasks"));
}

TEST_F(DropTrain, TheSeedDecidesEverything) {
  // with every core that there is, as users run it
  const testing::Arguments common =
      testing::Arguments{"--quiet"} + set({"threads=0", "train.steps=30"});
  expect_done(train(file("a"), common + testing::Arguments{"--seed", "1"}));
  expect_done(train(file("b"), common + testing::Arguments{"--seed", "1"}));
  expect_same_state(file("a"), file("b"), 30);
  EXPECT_EQ(testing::repeatable_metrics_of(file("a")), testing::repeatable_metrics_of(file("b")));

  // several seeds in one go: each as if it ran alone
  const ProcessResult both = train(file("both"), common + set({"seeds=[0, 1]"}));
  expect_done(both);
  EXPECT_EQ(both.out, file("both/seed_0") + "\n" + file("both/seed_1") + "\n");
  expect_same_state(file("a"), file("both/seed_1"), 30);
  for (const int64_t step : {0, 30}) {
    EXPECT_NE(testing::data_hash(checkpoint_of(file("both/seed_0"), step)),
              testing::data_hash(checkpoint_of(file("both/seed_1"), step)));
  }
}

TEST_F(DropTrain, TheEnginesOfThisMachineAreChecked) {
  const ProcessResult result = train(file("run"), {"--check-engines", "30", "--quiet"});
  expect_done(result);
  EXPECT_THAT(result.out, HasSubstr("step fused"));
  EXPECT_THAT(result.out, HasSubstr("ascent cpu"));
  EXPECT_THAT(result.out, ::testing::Not(HasSubstr("FAILED")));
  EXPECT_FALSE(std::filesystem::exists(file("run")));  // nothing is written
}

TEST_F(DropTrain, EvaluationOnTheWayIsWrittenAndChangesNothing) {
  const std::string run = file("run");
  expect_done(train(
      run, testing::Arguments{"--quiet"} + set({"eval.every=30", "eval.rules=[best, grad]"})));
  expect_same_state(run, testing::finished_run(), 60);

  // a checkpoint is written before each evaluation
  EXPECT_THAT(testing::names_in(run + "/eval"),
              ElementsAre("step_000000030_best.json", "step_000000030_grad.json",
                          "step_000000060_best.json", "step_000000060_grad.json"));
  EXPECT_TRUE(std::filesystem::exists(checkpoint_of(run, 30)));
  const Json json = testing::json_of(run + "/eval/step_000000030_best.json");
  EXPECT_EQ(json["task"], "maze2d-umaze-dense");
  EXPECT_EQ(json["dataset"], "maze");
  EXPECT_EQ(json["checkpoint"], "step_000000030.safetensors");
  EXPECT_EQ(json["step"], 30);
  EXPECT_EQ(json["rule"], "best");
  EXPECT_EQ(json["seed"], 0);
  ASSERT_EQ(json["episodes"].size(), 2u);
  double sum = 0.0;
  const double random = json["reference"]["random"];
  const double expert = json["reference"]["expert"];
  for (const Json& episode : json["episodes"]) {
    EXPECT_EQ(episode["length"], 300);
    EXPECT_EQ(episode["terminated"], false);
    const double value = episode["return"];
    EXPECT_GT(value, 0.0);
    sum += value;
    EXPECT_NEAR(episode["normalised_score"].get<double>(),
                100.0 * (value - random) / (expert - random), 1e-9);
  }
  EXPECT_NEAR(json["mean"].get<double>(), sum / 2, 1e-9);
  EXPECT_TRUE(json["std"].is_number());
  EXPECT_NE(json["reference"]["source"], "");
  EXPECT_GT(json["env_steps_per_second"].get<double>(), 0.0);

  // the same figures in the metrics
  std::vector<int64_t> steps;
  for (const testing::MetricRow& row : testing::metrics_of(run)) {
    if (row.name != "eval/best/return") continue;
    steps.push_back(row.step);
    if (row.step == 30) {
      EXPECT_DOUBLE_EQ(std::stod(row.value), json["mean"].get<double>());
    }
  }
  EXPECT_THAT(steps, ElementsAre(30, 60));
}

TEST_F(DropTrain, ATaskWithoutAnEnvironmentTrainsWithoutEvaluation) {
  // a task that D4RL knows and this library does not, and one whose models are not on the machine
  setenv("DROP_ADROIT_DIR", file("nowhere").c_str(), 1);
  const std::string data = file("mine.hdf5");
  std::filesystem::copy_file(testing::fixture("door-human-v1.hdf5"), data);
  for (const std::string task : {"kitchen", "door"}) {
    const testing::Arguments overrides = set({"task=" + task, "dataset=" + data, "eval.every=20"});
    const ProcessResult result = train(file(task), overrides);
    expect_done(result);
    EXPECT_THAT(result.err, HasSubstr("evaluation is off"));
    EXPECT_THAT(result.err, HasSubstr(task == "door" ? file("nowhere") : task));
    EXPECT_THAT(testing::names_in(file(task + "/eval")), IsEmpty());
    EXPECT_EQ(testing::newest_step(file(task)), 60);
    EXPECT_EQ(testing::json_of(file(task + "/status.json"))["state"], "finished");
  }
  unsetenv("DROP_ADROIT_DIR");
}

TEST_F(DropTrain, SaysWhatWillSpoilARun) {
  const ProcessResult result =
      train(file("run"), set({"train.steps=1", "decomposition.num_subtasks=20"}));
  expect_done(result);
  // scores that cannot look ahead as far as the discount asks
  EXPECT_THAT(result.err, HasSubstr("target_rate"));
  // fewer sub-tasks than asked for: 34 trajectories make 12 of 3, one without a transition
  const Json decomposition = testing::json_of(file("run/decomposition.json"));
  EXPECT_EQ(decomposition["requested_subtasks"], 20);
  EXPECT_EQ(decomposition["num_subtasks"].get<size_t>(), decomposition["subtasks"].size());
  EXPECT_THAT(decomposition["subtasks"].size(), ::testing::AnyOf(11u, 12u));
  ASSERT_FALSE(decomposition["warnings"].empty());
  for (const Json& warning : decomposition["warnings"]) {
    EXPECT_THAT(result.err, HasSubstr(warning.get<std::string>()));
  }
  EXPECT_THAT(decomposition["warnings"][0].get<std::string>(), HasSubstr("20"));

  // other bytes than those that are known under the file's name
  const std::string named = file("hopper_medium-v2.hdf5");
  D4rlWriter writer(named, 11, 3);
  for (int row = 0; row < 60; ++row)
    writer.append(std::vector<double>(11, 0.1 * row), std::vector<double>(3, 0.0), row, false,
                  row % 10 == 9);
  writer.close();
  const ProcessResult other =
      train(file("named"), set({"train.steps=1", "task=hopper", "dataset=" + named}));
  expect_done(other);
  EXPECT_THAT(other.err, HasSubstr("drop_data verify"));
  EXPECT_THAT(result.err, ::testing::Not(HasSubstr("drop_data verify")));
}

// ---- losses that are not finite -----------------------------------------------------------------

// the small data set with absurd, though finite, rewards: in one row, or in all; returns that row
int64_t write_poisoned_data(const std::string& path, bool everywhere) {
  const DatasetSource source = find_dataset(testing::maze_data(), "maze2d-umaze-dense");
  const TrajectoryDataset clean = read_d4rl_file(source);
  const Trajectory& victim = clean.trajectories[5];
  const int64_t poisoned = victim.begin + victim.length() / 2;
  D4rlWriter writer(path, clean.state_dim, clean.action_dim);
  for (int64_t row = 0; row < clean.rows; ++row) {
    const auto index = static_cast<size_t>(row);
    const std::vector<double> observation(clean.observation(row).begin(),
                                          clean.observation(row).end());
    const std::vector<double> action(clean.action(row).begin(), clean.action(row).end());
    const double reward = everywhere || row == poisoned ? 1e30 : clean.rewards[index];
    writer.append(observation, action, reward, clean.terminals[index] != 0,
                  clean.timeouts[index] != 0);
  }
  writer.close();
  return poisoned;
}

TEST_F(DropTrain, ALossThatOverflowsStopsTheRunAndKeepsTheLastGoodCheckpoint) {
  const int64_t poisoned = write_poisoned_data(file("poisoned.hdf5"), false);
  const std::string run = file("run");
  const ProcessResult result =
      train(run, testing::Arguments{"--quiet"} +
                     set({"dataset=" + file("poisoned.hdf5"), "train.reward_scale=1",
                          "train.steps=100000", "checkpoint.every=5"}));
  testing::expect_refusal(result, "drop_train", 1, {run + "/failure_step_", "not finite"});
  EXPECT_EQ(testing::json_of(run + "/status.json")["state"], "failed");

  // the report names the step and the rows of its batch, the guilty one among them
  std::string report;
  for (const std::string& name : testing::names_in(run)) {
    if (name.starts_with("failure_step_")) report = name;
  }
  ASSERT_NE(report, "");
  const Json failure = testing::json_of(run + "/" + report);
  const int64_t step = failure["step"];
  EXPECT_EQ(report, "failure_" + testing::step_name(step) + ".json");
  const auto rows = failure["rows"].get<std::vector<int64_t>>();
  EXPECT_EQ(rows.size(), 16u);
  EXPECT_THAT(rows, ::testing::Contains(poisoned));
  EXPECT_EQ(failure["subtasks"].size(), 16u);

  // every checkpoint that lies there is from before, and good
  const int64_t newest = testing::newest_step(run);
  EXPECT_GT(newest, 0) << "the seed meets the row too early for this test";
  EXPECT_LE(newest, step);
  expect_done(testing::run_program(
      "drop_eval", {"--checkpoint", run, "--rule", "best", "--episodes", "1", "--quiet"}));
}

TEST_F(DropTrain, ALossThatOverflowsAtOnceLeavesStepZero) {
  write_poisoned_data(file("poisoned.hdf5"), true);
  const ProcessResult result =
      train(file("run"), testing::Arguments{"--quiet"} +
                             set({"dataset=" + file("poisoned.hdf5"), "train.reward_scale=1"}));
  testing::expect_refusal(result, "drop_train", 1, {"failure_step_", "not finite"});
  EXPECT_EQ(testing::newest_step(file("run")), 0);
}

TEST_F(DropTrain, TheScaleOfRewardsIsNoProblemByItself) {
  // the same absurd rewards, brought to order 1
  write_poisoned_data(file("large.hdf5"), true);
  expect_done(
      train(file("run"), testing::Arguments{"--quiet"} +
                             set({"dataset=" + file("large.hdf5"), "train.reward_scale=auto"})));
  for (const testing::MetricRow& row : testing::metrics_of(file("run"))) {
    EXPECT_TRUE(std::isfinite(std::stod(row.value))) << row.step << " " << row.name;
  }
}

// ---- Adroit files, against an independent reading -----------------------------------------------

class Adroit : public DropTrain {
 protected:
  void SetUp() override {
    if (!testing::has_python()) {
      GTEST_SKIP() << "no Python with h5py, numpy, safetensors and yaml (scripts/setup.sh)";
    }
  }
  void expect_statistics(const std::string& run, const std::string& data,
                         const std::string& demonstrations) {
    const std::string script = std::string(DROP_SOURCE_DIR) + "/tests/apps/door_statistics.py";
    const ProcessResult result =
        testing::run_process({DROP_PYTHON, script, data, run, demonstrations});
    EXPECT_EQ(result.status, 0) << result.out << result.err;
  }
};

TEST_F(Adroit, ASmallFileIsSplitByTerminals) {
  const std::string data = testing::fixture("door-v0_demos_clipped.hdf5");
  // its rows are shorter than the task's: as if the models were not here
  setenv("DROP_ADROIT_DIR", file("nowhere").c_str(), 1);
  expect_done(train(file("run"), testing::Arguments{"--quiet"} +
                                     set({"task=door", "dataset=" + data, "train.steps=2"})));
  unsetenv("DROP_ADROIT_DIR");
  expect_statistics(file("run"), data, "2");
}

TEST_F(Adroit, TheGenuineDoorFileTrains) {
  const std::string data = testing::shared_data("door-v0_demos_clipped.hdf5");
  if (data.empty()) GTEST_SKIP() << "the genuine D4RL file is not here";
  const ProcessResult result = testing::run_program(
      "drop_train",
      testing::Arguments{"--config",
                         std::string(DROP_SOURCE_DIR) + "/configs/adroit/door-human-v0.yaml",
                         "--out", file("run")} +
          set({"dataset=" + data, "train.steps=5", "train.batch_size=32", "model.hidden_width=16",
               "eval.every=0"}));
  expect_done(result);
  // 25 demonstrations make 9 sub-tasks of 3, not 50
  EXPECT_THAT(result.err, HasSubstr("50"));
  EXPECT_EQ(testing::json_of(file("run/decomposition.json"))["num_subtasks"], 9);
  EXPECT_EQ(testing::newest_step(file("run")), 5);
  expect_statistics(file("run"), data, "25");
}

}  // namespace
}  // namespace drop
