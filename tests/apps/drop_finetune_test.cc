// drop_finetune: three levels on a small run

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "apps/workbench.h"
#include "drop/base/sha256.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::data_hash;
using testing::expect_done;
using testing::expect_refusal;
using testing::finished_run;
using ::testing::HasSubstr;
using testing::Json;
using testing::json_of;
using testing::names_in;
using testing::ProcessResult;

class DropFinetune : public testing::Workbench {
 protected:
  // a copy: fine-tuning writes into the run's folder
  void SetUp() override {
    std::filesystem::copy(finished_run(), run_, std::filesystem::copy_options::recursive);
  }
  ProcessResult finetune(const std::string& level, const Arguments& more = {}) {
    return testing::run_program(
        "drop_finetune", Arguments{"--run", run_, "--level", level, "--episodes", "2", "--threads",
                                   "1", "--network-threads", "1", "--quiet"} +
                             more);
  }
  Json result(const std::string& name) const { return json_of(run_ + "/finetune/" + name); }

  // the start is the first trial, and the choice is no worse in what was seen
  static void expect_sound(const Json& json) {
    const Json& trials = json["trials"];
    int64_t spent = 0;
    double best = -1e300;
    Json chosen;
    for (const Json& trial : trials) {
      spent += trial["length"].get<int64_t>();
      if (trial["return"].get<double>() > best) {
        best = trial["return"];
        chosen = trial;
      }
    }
    EXPECT_GE(best, trials[0]["return"].get<double>());
    EXPECT_EQ(json["chosen"]["checkpoint"], chosen["checkpoint"]);
    EXPECT_EQ(json["chosen"]["ascent_steps"], chosen["ascent_steps"]);
    EXPECT_EQ(json["initial"]["checkpoint"], trials[0]["checkpoint"]);
    EXPECT_EQ(json["initial"]["episodes"].size(), 2u);
    EXPECT_GE(json["env_steps"].get<int64_t>(), spent);
  }

  std::string run_ = file("a run");
};

TEST_F(DropFinetune, CheckpointLevelTriesTheNewestOnes) {
  const ProcessResult done = finetune("checkpoint");
  expect_done(done);
  EXPECT_THAT(done.out, HasSubstr("checkpoint level, rule best: 3 trials, 900 environment steps"));
  const Json json = result("checkpoint-best.json");
  expect_sound(json);
  std::vector<int64_t> steps;
  for (const Json& trial : json["trials"]) steps.push_back(trial["step"]);
  EXPECT_EQ(steps, (std::vector<int64_t>{60, 40, 20}));
  EXPECT_EQ(json["env_steps"], 900);
  EXPECT_EQ(json["task"], "maze2d-umaze-dense");

  // again: nothing is tried twice, the same answer, also in a file of the user's choice
  const std::string log = read_text_file(run_ + "/finetune/checkpoint-best.trials.json");
  for (const char* name : {"/mine.json", "/mine.json", "/finetune/checkpoint-best.json"})
    expect_done(finetune("checkpoint", {"--json", run_ + name}));
  expect_refusal(finetune("checkpoint", {"--json", run_ + "/finetune/checkpoint-best.trials.json"}),
                 "drop_finetune", 2, {"found as output what is already"});
  EXPECT_EQ(read_text_file(run_ + "/finetune/checkpoint-best.trials.json"), log);
  EXPECT_EQ(result("checkpoint-best.json")["chosen"]["episodes"], json["chosen"]["episodes"]);
}

TEST_F(DropFinetune, EmbeddingLevelTriesAscentStepsAndGoesOnWhereItWas) {
  const Arguments grad = {"--rule", "grad", "--max-ascent-steps", "4", "--last", "2"};
  // the budget ends the first call early
  expect_done(finetune("embedding", grad + Arguments{"--env-steps", "700"}));
  EXPECT_EQ(result("embedding-grad.json")["trials"].size(), 3u);
  const Json early = result("embedding-grad.trials.json")["trials"];
  expect_done(finetune("embedding", grad));
  const Json json = result("embedding-grad.json");
  expect_sound(json);
  // the start with the config's 20 steps, then 1 to 4 on each of two checkpoints
  ASSERT_EQ(json["trials"].size(), 9u);
  EXPECT_EQ(json["trials"][0]["ascent_steps"], 20);
  std::set<std::pair<int64_t, int64_t>> tried;
  for (const Json& trial : json["trials"])
    tried.emplace(trial["step"].get<int64_t>(), trial["ascent_steps"].get<int64_t>());
  EXPECT_TRUE(tried.contains({40, 4}));
  EXPECT_EQ(tried.size(), 9u);
  for (size_t i = 0; i < early.size(); ++i)
    EXPECT_EQ(result("embedding-grad.trials.json")["trials"][i], early[i]);
}

TEST_F(DropFinetune, ParametricLevelTrainsOnAndResumes) {
  const Arguments settings = {"--rule", "best-ada"};
  const Arguments all = settings + Arguments{"--saves", "2", "--env-steps", "600"};
  expect_done(finetune("parametric", all));
  const std::string folder = run_ + "/finetune/parametric-best-ada";
  const Json json = result("parametric-best-ada.json");
  expect_sound(json);
  // 60 offline steps, then one for each of two episodes' 300 environment steps
  ASSERT_EQ(json["trials"].size(), 3u);
  EXPECT_EQ(json["trials"][1]["step"], 360);
  EXPECT_EQ(json["trials"][2]["step"], 660);
  EXPECT_EQ(json["env_steps"], 600 + 3 * 300);
  // the replay buffer is kept with the two newest checkpoints
  EXPECT_TRUE(std::filesystem::exists(testing::training_file_of(folder, 660)));
  EXPECT_TRUE(std::filesystem::exists(testing::training_file_of(folder, 360)));
  EXPECT_THAT(testing::TensorFile::read(testing::training_file_of(folder, 660))
                  .header["replay.rewards"]["shape"],
              ::testing::Eq(Json{600}));

  // in two calls the same weights come out
  const std::string at_once = data_hash(testing::checkpoint_of(folder, 660));
  std::filesystem::remove_all(folder);
  expect_done(finetune("parametric", settings + Arguments{"--env-steps", "300", "--saves", "1"}));
  expect_done(finetune("parametric", all));
  EXPECT_EQ(data_hash(testing::checkpoint_of(folder, 660)), at_once);

  // a damaged newest checkpoint: on from the one before, which is told in spite of --quiet; the
  // run's folder may be spelled in another way
  std::filesystem::resize_file(testing::checkpoint_of(folder, 660), 1000);
  const std::string spelled = run_;
  run_ += "/../" + std::filesystem::path(run_).filename().string();
  const auto resumed = finetune("parametric", all);
  run_ = spelled;
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(resumed.err,
              ::testing::HasSubstr("step 660 cannot be used and is set aside as *.bad"));
  EXPECT_EQ(data_hash(testing::checkpoint_of(folder, 660)), at_once);

  // other settings do not mix with what is there
  expect_refusal(
      finetune("parametric", settings + Arguments{"--env-steps", "900", "--noise", "0.2"}),
      "drop_finetune", 2, {"online.json", "other settings"});

  // the cure: other weights under the same names, which are tried anew
  std::filesystem::remove_all(folder);
  expect_done(finetune("parametric", all + Arguments{"--noise", "0.2"}));
  EXPECT_NE(data_hash(testing::checkpoint_of(folder, 660)), at_once);
  const Json tried = result("parametric-best-ada.trials.json")["trials"];
  const Json chosen_from = result("parametric-best-ada.json")["trials"];
  for (size_t trial = 1; trial < 3; ++trial) {
    const int64_t step = chosen_from[trial]["step"].get<int64_t>();
    const std::string hash = sha256_of_file(testing::checkpoint_of(folder, step));
    const auto row = std::find_if(tried.begin(), tried.end(),
                                  [&](const Json& one) { return one["sha256"] == hash; });
    ASSERT_NE(row, tried.end()) << step;
    EXPECT_EQ((*row)["return"], chosen_from[trial]["return"]);
  }
}

TEST_F(DropFinetune, Refusals) {
  expect_refusal(finetune("weights"), "drop_finetune", 2, {"--level", "weights", "parametric"});
  expect_refusal(finetune("embedding", {"--rule", "best"}), "drop_finetune", 2,
                 {"--rule", "best", "grad-ada"});
  expect_refusal(
      testing::run_program("drop_finetune", {"--run", file("nothing"), "--level", "checkpoint"}),
      "drop_finetune", 3, {"nothing", "no such run"});
}

}  // namespace
}  // namespace drop
