// drop_coms: the files of a run, repeatability, --resume and --force, and what is refused

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "apps/workbench.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::expect_done;
using testing::expect_refusal;
using ::testing::HasSubstr;
using testing::Json;
using testing::json_of;
using testing::run_program;
using testing::set;

class DropComs : public testing::Workbench {
 protected:
  testing::ProcessResult coms(const std::string& out, const Arguments& more = {}) {
    return run_program("drop_coms",
                       Arguments{"--config", config(), "--out", out, "--quiet"} + more);
  }
  // of a run's evaluations all but how fast they were and where they lie
  static Json scores(const std::string& run) {
    Json json = json_of(run + "/eval/protocol.json");
    for (Json& result : json["results"]) {
      result.erase("env_steps_per_second");
      result.erase("checkpoint");
    }
    return json;
  }
};

TEST_F(DropComs, LeavesAWholeRunBehindAndRepeatsItself) {
  const std::string run = file("run");
  const testing::ProcessResult done = coms(run, {"--seed", "3"});
  expect_done(done);
  EXPECT_THAT(done.out, HasSubstr("task maze2d-umaze-dense"));
  EXPECT_THAT(done.out, HasSubstr("\ngrad  "));
  EXPECT_EQ(done.err, "");

  // status as drop_train's, so that the sweep finds it done
  EXPECT_EQ(json_of(run + "/status.json")["state"], "finished");
  EXPECT_EQ(json_of(run + "/status.json")["step"], 60);
  EXPECT_EQ(json_of(run + "/decomposition.json")["subtasks"].size(), 4u);
  const Json provenance = json_of(run + "/provenance.json");
  EXPECT_EQ(provenance["seed"], 3);
  EXPECT_EQ(provenance["data"]["rows"], 3000);
  EXPECT_THAT(read_text_file(run + "/config.yaml"), HasSubstr("seed: 3"));

  // scores in drop_eval's form
  const Json json = json_of(run + "/eval/protocol.json");
  ASSERT_EQ(json["results"].size(), 1u);
  const Json& result = json["results"][0];
  EXPECT_EQ(result["rule"], "grad");
  EXPECT_EQ(result["search"]["ascent_steps"], 20);
  EXPECT_EQ(result["step"], 60);
  EXPECT_EQ(result["episodes"].size(), 2u);
  EXPECT_EQ(result["dataset_sha256"], provenance["data"]["sha256"]);
  EXPECT_TRUE(result["normalised_score"].is_number());
  EXPECT_EQ(json["summary"][0]["rule"], "grad");
  EXPECT_EQ(json["summary"][0]["episodes"], 2);

  // measurements of both stages, and nothing that drop_eval takes for a checkpoint
  std::set<std::string> names;
  for (const testing::MetricRow& row : testing::metrics_of(run)) names.insert(row.name);
  EXPECT_EQ(names, (std::set<std::string>{"loss/behaviour", "coms/squared_error",
                                          "coms/overestimation", "coms/alpha"}));
  EXPECT_TRUE(testing::names_in(run + "/checkpoints").empty());
  expect_refusal(run_program("drop_eval", {"--checkpoint", run}), "drop_eval", 3,
                 {"holds no checkpoint"});
  expect_refusal(run_program("drop_eval", {"--checkpoint", run + "/coms.safetensors"}), "drop_eval",
                 3, {"this is no checkpoint of this project"});

  // a finished run stays as it is
  const std::string before = read_text_file(run + "/metrics.csv");
  expect_done(coms(run, {"--seed", "3", "--resume"}));
  EXPECT_EQ(read_text_file(run + "/metrics.csv"), before);
  expect_refusal(coms(run, {"--seed", "3"}), "drop_coms", 2, {run, "--resume", "--force"});
  expect_refusal(coms(run, {"--seed", "4", "--resume"}), "drop_coms", 2, {"another seed"});
  expect_refusal(coms(run, Arguments{"--seed", "3", "--resume"} + set({"train.batch_size=8"})),
                 "drop_coms", 2, {"batch_size"});
  EXPECT_EQ(read_text_file(run + "/metrics.csv"), before);

  // one that was killed starts over: the same bytes
  const std::string stored = read_text_file(run + "/coms.safetensors");
  const Json first = scores(run);
  std::filesystem::remove(run + "/coms.safetensors");
  write_file_atomically(run + "/status.json", R"({"state": "running", "step": 0})");
  expect_done(coms(run, {"--seed", "3", "--resume"}));
  EXPECT_EQ(read_text_file(run + "/coms.safetensors"), stored);
  EXPECT_EQ(scores(run), first);
  EXPECT_EQ(json_of(run + "/provenance.json")["sessions"].size(), 2u);
  EXPECT_EQ(testing::lines_of(read_text_file(run + "/metrics.csv")).size(),
            testing::lines_of(before).size());

  // so does one of which more is asked, and one that is forced; another seed is another run
  expect_done(coms(run, Arguments{"--seed", "3", "--resume"} + set({"eval.episodes=3"})));
  EXPECT_EQ(scores(run)["results"][0]["episodes"].size(), 3u);
  expect_refusal(coms(run, Arguments{"--seed", "3", "--resume"} + set({"search.ascent_steps=7"})),
                 "drop_coms", 2, {"search.ascent_steps: 20", "search.ascent_steps: 7"});
  // what is missing is made again
  std::filesystem::remove(run + "/eval/protocol.json");
  expect_done(coms(run, Arguments{"--seed", "3", "--resume"} + set({"eval.episodes=3"})));
  EXPECT_EQ(scores(run)["results"][0]["episodes"].size(), 3u);
  expect_done(coms(run, {"--seed", "4", "--force"}));
  EXPECT_NE(testing::data_hash(run + "/coms.safetensors"), "");
  EXPECT_NE(read_text_file(run + "/coms.safetensors"), stored);
  EXPECT_EQ(json_of(run + "/provenance.json")["seed"], 4);
}

TEST_F(DropComs, RefusesWhatItCannotDoWithOneLine) {
  const std::string out = file("refused");
  expect_refusal(coms(out, set({"model.embedding=cvae"})), "drop_coms", 2,
                 {"model.embedding", "found cvae", "allowed: table"});
  expect_refusal(coms(out, set({"seeds=[0, 1]"})), "drop_coms", 2, {"seeds: found 2"});
  expect_refusal(coms(out, set({"task=hopper"})), "drop_coms", 3, {"attribute 'task'", "hopper"});
  expect_refusal(
      coms(out, set({"task=hopper", "dataset=" + testing::fixture("hopper_medium-v2.hdf5")})),
      "drop_coms", 2, {"task hopper has 11 state and 3 action dimensions"});
  expect_refusal(coms(out, set({"dataset=" + file("none.hdf5")})), "drop_coms", 3, {"none.hdf5"});
  expect_refusal(run_program("drop_coms", {"--config", config()}), "drop_coms", 2, {"--out"});
  EXPECT_FALSE(std::filesystem::exists(out));
  // a run of drop_train is not written over
  std::filesystem::create_directories(file("drop/checkpoints"));
  write_file_atomically(testing::checkpoint_of(file("drop"), 60), "weights");
  expect_refusal(coms(file("drop"), {"--force"}), "drop_coms", 2, {"holds a run of drop_train"});
  EXPECT_EQ(testing::names_in(file("drop")), std::vector<std::string>{"checkpoints"});
  // the config alone
  const testing::ProcessResult dry = coms(out, {"--dry-run"});
  expect_done(dry);
  EXPECT_THAT(dry.out, HasSubstr("ascent_steps: 20"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace drop
