// odd data as a user meets them: the programs train on with a warning, or refuse in one line

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "apps/workbench.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/hdf5.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::expect_done;
using testing::expect_refusal;
using ::testing::HasSubstr;
using testing::ProcessResult;
using testing::set;

class DegenerateData : public testing::Workbench {
 protected:
  // trajectories of `length` rows as the small config's task has them, each ended by a timeout
  std::string data(int64_t trajectories, int64_t length, double reward, double action = 0.5) const {
    D4rlWriter writer(file("odd.hdf5"), 4, 2);
    for (int64_t row = 0; row < trajectories * length; ++row) {
      const auto t = static_cast<double>(row);
      writer.append(std::vector<double>{t / 10.0, 3.0, 3.0, 3.0},
                    std::vector<double>{action, action}, reward, false, row % length == length - 1);
    }
    writer.close();
    return file("odd.hdf5");
  }

  ProcessResult train_on(const std::string& dataset, const Arguments& overrides = {}) {
    return train(file("run"), set({"dataset=" + dataset}) + set(overrides));
  }
};

TEST_F(DegenerateData, OneTransitionTrainsAndActs) {
  expect_done(train_on(data(1, 2, 1.0)));
  const std::string states = file("states.h5");
  Hdf5ResultWriter writer(states);
  writer.add("states", {1, 4}, std::vector<float>{0.05F, 3.0F, 3.0F, 3.0F});
  writer.close();
  expect_done(testing::run_program(
      "drop_infer", {"--checkpoint", testing::checkpoint_of(file("run"), 60), "--states", states,
                     "--out", file("out.h5"), "--rule", "best,grad,best-ada,grad-ada", "--quiet"}));
}

TEST_F(DegenerateData, RewardsOfZeroAreSaidToTeachNothing) {
  const ProcessResult result = train_on(data(4, 5, 0.0));
  expect_done(result);
  EXPECT_THAT(result.err, HasSubstr("cannot rank sub-tasks"));
  EXPECT_THAT(result.err, HasSubstr("ranks say nothing"));
  EXPECT_THAT(result.err, HasSubstr("3 of 4 state dimensions never change"));
}

TEST_F(DegenerateData, ActionsThatCannotBeFittedAreReported) {
  const ProcessResult result = train_on(data(4, 5, 1.0, -3.0));
  expect_done(result);
  EXPECT_THAT(result.err, HasSubstr("actions reach 3 (row 0)"));
}

TEST_F(DegenerateData, AnUnusualRewardScaleIsReported) {
  const ProcessResult result = train_on(data(4, 5, 1.0), {"train.reward_scale=1e5"});
  expect_done(result);
  EXPECT_THAT(result.err, HasSubstr("train.reward_scale: 1\n"));
}

TEST_F(DegenerateData, ExplodingScoresAreReported) {
  const ProcessResult result =
      train_on(data(4, 5, 1.0), {"train.multiplier=projected", "train.multiplier_initial=1e6",
                                 "train.conservative_threshold=-1e6", "train.learning_rate=0.1"});
  // they may leave float32 before the end; said before that either way
  EXPECT_THAT(result.status, ::testing::AnyOf(0, 1));
  EXPECT_THAT(result.err, HasSubstr("the scores explode"));
}

TEST_F(DegenerateData, CollapsedEmbeddingsAreReported) {
  const ProcessResult collapsed = train(
      file("log"), set({"train.multiplier=log", "train.conservative_threshold=2",
                        "train.multiplier_rate=0.001", "train.reward_scale=1",
                        "train.learning_rate=0.05", "train.steps=400", "train.log_every=20"}));
  expect_done(collapsed);
  EXPECT_THAT(collapsed.err, HasSubstr("the embeddings have collapsed"));
  const ProcessResult apart = train(file("hinge"), set({"train.steps=100"}));
  expect_done(apart);
  EXPECT_THAT(apart.err, ::testing::Not(HasSubstr("collapsed")));
}

TEST_F(DegenerateData, NothingToLearnIsRefused) {
  const std::string path = data(3, 1, 1.0);
  const ProcessResult result = train(file("run"), set({"dataset=" + path}) + Arguments{"--quiet"});
  expect_refusal(result, "drop_train", 3, {path, "none of 3 trajectories"});
  EXPECT_FALSE(std::filesystem::exists(file("run")));
}

TEST_F(DegenerateData, ValuesThatCannotBeCarriedAreRefused) {
  const auto refused = [&](const std::string& path, const Arguments& overrides, int status,
                           const Arguments& parts) {
    expect_refusal(
        train(file("run"), set({"dataset=" + path}) + set(overrides) + Arguments{"--quiet"}),
        "drop_train", status, parts);
    EXPECT_FALSE(std::filesystem::exists(file("run")));
  };
  refused(data(3, 4, 1e33), {}, 3, {"'rewards' row 0", "1e+32"});
  refused(data(3, 4, 1.0, 1e9), {}, 3, {"'actions' row 0"});
  refused(data(3, 4, 1.0), {"train.reward_scale=1e-36"}, 2, {"train.reward_scale", "auto"});
}

}  // namespace
}  // namespace drop
