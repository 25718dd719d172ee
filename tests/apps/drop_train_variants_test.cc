// drop_train: DROP+CVAE and behaviour cloning, from training to acting

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "apps/workbench.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::checkpoint_of;
using testing::expect_done;
using ::testing::HasSubstr;
using testing::Json;
using testing::set;
using testing::TensorFile;

class DropTrainVariants : public testing::Workbench {
 protected:
  testing::ProcessResult eval(const std::string& run, const Arguments& more) {
    return testing::run_program(
        "drop_eval", Arguments{"--checkpoint", run, "--episodes", "2", "--json", "-"} + more);
  }
  static bool has(const std::string& run, const std::string& name) {
    for (const testing::MetricRow& row : testing::metrics_of(run)) {
      if (row.name == name && std::isfinite(std::stod(row.value))) return true;
    }
    return false;
  }
};

TEST_F(DropTrainVariants, CvaeTrainsResumesAndActs) {
  const Arguments cvae = set({"model.embedding=cvae", "model.latent_dim=3"});
  const std::string run = file("cvae");
  expect_done(train(run, cvae));
  const TensorFile checkpoint = TensorFile::read(checkpoint_of(run, 60));
  // the encoder sees 4 + 2 inputs and gives mean and deviation
  EXPECT_EQ(checkpoint.header["encoder.0.weight"]["shape"], (Json{16, 6}));
  EXPECT_EQ(checkpoint.header["encoder.2.bias"]["shape"], Json{6});
  EXPECT_FALSE(checkpoint.header.contains("task_embedding.encoder.0.weight"));
  // N starting points, drawn from the prior, within the box
  EXPECT_EQ(checkpoint.header["embeddings"]["shape"], (Json{4, 3}));
  double beyond_one = 0.0;
  for (const float value : checkpoint.values("embeddings")) {
    EXPECT_LE(std::abs(value), 2.0f);
    beyond_one = std::max(beyond_one, std::abs(static_cast<double>(value)));
  }
  EXPECT_GT(beyond_one, 1.0);
  EXPECT_TRUE(has(run, "loss/kl"));
  EXPECT_FALSE(has(run, "embedding/nearest_distance"));

  // all rules
  const testing::ProcessResult done = eval(run, {"--rule", "best,grad,best-ada,grad-ada"});
  expect_done(done);
  EXPECT_EQ(Json::parse(done.out)["results"].size(), 4u);

  // stopped and continued: the same bits
  const std::string parts = file("cvae in parts");
  expect_done(train(parts, cvae + set({"train.steps=20"})));
  expect_done(train(parts, cvae + Arguments{"--resume"}));
  testing::expect_same_state(run, parts, 60);
}

TEST_F(DropTrainVariants, AnEncoderThatSaysNothingIsTold) {
  const Arguments cvae = set({"model.embedding=cvae", "train.learning_rate=0.01"});
  const testing::ProcessResult silent =
      train(file("silent"), cvae + set({"model.kl_weight=1000", "train.steps=400"}));
  expect_done(silent);
  EXPECT_THAT(silent.err, HasSubstr("a smaller model.kl_weight (it is 1000)"));
  const testing::ProcessResult speaking =
      train(file("speaking"), cvae + set({"model.kl_weight=0.001", "train.steps=400"}));
  expect_done(speaking);
  EXPECT_THAT(speaking.err, ::testing::Not(HasSubstr("model.kl_weight")));
}

TEST_F(DropTrainVariants, CvaeStartsFromEncodingsOfData) {
  const std::string run = file("cvae from data");
  expect_done(train(run, set({"model.embedding=cvae", "search.starts=data",
                              "model.encoder_inputs=[s]", "train.steps=20"})));
  const TensorFile checkpoint = TensorFile::read(checkpoint_of(run, 20));
  EXPECT_EQ(checkpoint.header["encoder.0.weight"]["shape"], (Json{16, 4}));
  EXPECT_EQ(checkpoint.header["embeddings"]["shape"], (Json{4, 4}));  // twice the action dimension
  // encodings move with the encoder
  EXPECT_NE(checkpoint.values("embeddings"),
            TensorFile::read(checkpoint_of(run, 0)).values("embeddings"));
}

TEST_F(DropTrainVariants, BehaviourCloningLeavesTheScoreAlone) {
  const std::string run = file("bc");
  const testing::ProcessResult done =
      train(run, set({"train.score=off", "decomposition.num_subtasks=1",
                      "decomposition.trajectories_per_subtask=100"}));
  expect_done(done);
  EXPECT_THAT(done.err, ::testing::Not(HasSubstr("untrained")));
  const TensorFile first = TensorFile::read(checkpoint_of(run, 0));
  const TensorFile last = TensorFile::read(checkpoint_of(run, 60));
  const std::string score = "score.score_encoder.0.weight";
  EXPECT_EQ(first.values(score), last.values(score));
  EXPECT_EQ(first.values("target_" + score), last.values("target_" + score));
  const std::string policy = "policy.action_encoder.0.weight";
  EXPECT_NE(first.values(policy), last.values(policy));
  EXPECT_TRUE(has(run, "loss/behaviour"));
  EXPECT_FALSE(has(run, "loss/td"));
  expect_done(eval(run, {"--rule", "best"}));

  // several sub-tasks can be fitted, but not told apart
  const testing::ProcessResult several =
      train(file("fit"), set({"train.score=off", "train.steps=10"}));
  expect_done(several);
  EXPECT_THAT(several.err, HasSubstr("untrained"));
}

}  // namespace
}  // namespace drop
