// drop_train --resume: whatever stopped a run, it ends as if nothing had happened

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <functional>

#include "apps/workbench.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::checkpoint_of;
using ::testing::ElementsAre;
using testing::expect_done;
using testing::expect_refusal;
using testing::expect_same_state;
using ::testing::HasSubstr;
using testing::Json;
using testing::Process;
using testing::ProcessResult;
using testing::set;
using testing::training_file_of;

// long enough to be stopped in the middle on any machine
constexpr const char* kEndless = "train.steps=100000000";

class Resume : public testing::Workbench {
 protected:
  static Arguments until(int64_t step) { return set({"train.steps=" + std::to_string(step)}); }
  static std::string state_of(const std::string& run) {
    return testing::json_of(run + "/status.json")["state"];
  }

  // starts or continues an endless run and stops it by a signal after its checkpoint of `step`
  ProcessResult stopped_after(int64_t step, int signal, const std::string& run,
                              const Arguments& more = {}) {
    Process process(train_command(run, set({kEndless}) + Arguments{"--quiet"} + more));
    EXPECT_TRUE(process.wait_until([&] { return testing::newest_step(run) >= step; }));
    process.send(signal);
    return process.wait();
  }

  // a run of the same length that nothing disturbs, and the other one is the same
  void expect_undisturbed(const std::string& run, int64_t step, const Arguments& more = {}) {
    const std::string reference = file("reference of " + std::to_string(step));
    expect_done(train(reference, Arguments{"--quiet"} + until(step) + more));
    expect_same_state(run, reference, step);
    EXPECT_EQ(testing::repeatable_metrics_of(run), testing::repeatable_metrics_of(reference));
    EXPECT_EQ(state_of(run), "finished");
  }
};

// ---- bit for bit, with every form of the multiplier ---------------------------------------------

struct Form {
  std::string name;
  Arguments overrides;
};

void PrintTo(const Form& form, std::ostream* out) { *out << form.name; }

class ResumeForms : public Resume, public ::testing::WithParamInterface<Form> {};

TEST_P(ResumeForms, AfterAStopAtACheckpoint) {
  const Arguments more = Arguments{"--quiet"} + GetParam().overrides;
  const std::string run = file("run");
  expect_done(train(run, more + until(20)));
  const ProcessResult resumed = train(run, more + until(45) + Arguments{"--resume"});
  expect_done(resumed);
  EXPECT_EQ(resumed.out, run + "\n");
  expect_undisturbed(run, 45, GetParam().overrides);

  // the multiplier has moved, so its state was part of the question
  const auto lambda = [&](int64_t step) {
    return testing::TensorFile::read(checkpoint_of(run, step)).values("multiplier.value").at(0);
  };
  EXPECT_NE(lambda(20), lambda(0));
  EXPECT_NE(lambda(45), lambda(20));

  // one folder tells of both sessions
  const Json sessions = testing::json_of(run + "/provenance.json")["sessions"];
  ASSERT_EQ(sessions.size(), 2u);
  EXPECT_EQ(sessions[0]["from_step"], 0);
  EXPECT_EQ(sessions[1]["from_step"], 20);
}

TEST_P(ResumeForms, AfterKillsInTheMiddle) {
  const std::string run = file("run");
  const Arguments& more = GetParam().overrides;
  EXPECT_EQ(stopped_after(40, SIGKILL, run, more).signal, SIGKILL);
  const int64_t first = testing::newest_step(run);
  EXPECT_EQ(stopped_after(first + 20, SIGKILL, run, more + Arguments{"--resume"}).signal, SIGKILL);
  const int64_t second = testing::newest_step(run);
  ASSERT_GT(second, first);
  expect_done(train(run, more + until(second + 25) + Arguments{"--resume", "--quiet"}));
  expect_undisturbed(run, second + 25, more);
}

INSTANTIATE_TEST_SUITE_P(
    Multiplier, ResumeForms,
    ::testing::Values(Form{"hinge", set({"train.multiplier=hinge"})},
                      Form{"projected", set({"train.multiplier=projected", "threads=0"})},
                      Form{"log", set({"train.multiplier=log", "model.policy_std=learned",
                                       "decomposition.rule=random"})}),
    [](const auto& info) { return info.param.name; });

// ---- signals ------------------------------------------------------------------------------------

TEST_F(Resume, ASignalSavesAndStopsWith130) {
  for (const int signal : {SIGINT, SIGTERM}) {
    SCOPED_TRACE(signal);
    const std::string run = file("run " + std::to_string(signal));
    const ProcessResult stopped = stopped_after(20, signal, run);
    EXPECT_EQ(stopped.status, 130);
    EXPECT_EQ(stopped.out, "");
    EXPECT_EQ(testing::lines_of(stopped.err).size(), 1u) << stopped.err;
    EXPECT_THAT(stopped.err, HasSubstr("--resume"));

    // the very step is saved
    const Json status = testing::json_of(run + "/status.json");
    EXPECT_EQ(status["state"], "interrupted");
    const int64_t step = status["step"];
    EXPECT_EQ(step, testing::newest_step(run));
    EXPECT_THAT(stopped.err, HasSubstr("step " + std::to_string(step)));
    EXPECT_TRUE(std::filesystem::exists(checkpoint_of(run, step)));
    EXPECT_TRUE(std::filesystem::exists(training_file_of(run, step)));

    // and the rest goes on from there
    expect_done(train(run, until(step + 15) + Arguments{"--resume", "--quiet"}));
    const std::string reference = file("reference " + std::to_string(signal));
    expect_done(train(reference, until(step + 15) + Arguments{"--quiet"}));
    expect_same_state(run, reference, step + 15);
    EXPECT_EQ(state_of(run), "finished");
  }
}

TEST_F(Resume, ASignalDuringAnEvaluationRepeatsIt) {
  // an evaluation that lasts
  const std::string run = file("run");
  const ProcessResult stopped = stopped_after(
      20, SIGTERM, run,
      set({"eval.every=20", "eval.rules=[best]", "eval.episodes=500", "checkpoint.every=1000"}));
  EXPECT_EQ(stopped.status, 130) << stopped.err;
  EXPECT_EQ(testing::json_of(run + "/status.json")["step"], 20);
  EXPECT_EQ(testing::newest_step(run), 20);
  EXPECT_FALSE(std::filesystem::exists(run + "/eval/step_000000020_best.json"));
  expect_done(train(run, until(30) + Arguments{"--resume", "--quiet"} +
                             set({"eval.every=20", "eval.rules=[best]"})));
  EXPECT_THAT(testing::names_in(run + "/eval"),
              ElementsAre("step_000000020_best.json", "step_000000030_best.json"));
  EXPECT_EQ(testing::json_of(run + "/eval/step_000000020_best.json")["episodes"].size(), 2u);
}

TEST_F(Resume, AnEvaluationOnDiskWithoutAllItsRowsIsLoggedAndNotRepeated) {
  const Arguments evaluated =
      Arguments{"--quiet"} + until(40) + set({"eval.every=20", "eval.rules=[best]"});
  const std::string run = file("run");
  expect_done(train(run, evaluated));
  const std::vector<std::string> rows = testing::repeatable_metrics_of(run);
  const std::string result = run + "/eval/step_000000040_best.json";
  const std::string measured = read_text_file(result);

  // as a kill leaves it between that file and the last rows
  std::string kept;
  for (const std::string& line : testing::lines_of(read_text_file(run + "/metrics.csv"))) {
    const bool last = line.starts_with("40,") && line.find("eval/best/return_std") != line.npos;
    if (last) break;
    kept += line + "\n";
  }
  write_file_atomically(run + "/metrics.csv", kept);
  write_file_atomically(run + "/status.json", R"({"state": "running", "step": 40})");
  ASSERT_LT(testing::repeatable_metrics_of(run).size(), rows.size());
  expect_done(train(run, evaluated + Arguments{"--resume"}));
  EXPECT_EQ(testing::repeatable_metrics_of(run), rows);
  EXPECT_EQ(read_text_file(result), measured) << "its speed would differ";

  // nor when the run has fallen back to an earlier checkpoint
  std::filesystem::resize_file(checkpoint_of(run, 40), 100);
  expect_done(train(run, evaluated + Arguments{"--resume"}));
  EXPECT_EQ(testing::repeatable_metrics_of(run), rows);
  EXPECT_EQ(read_text_file(result), measured);

  // one of other weights or settings is none of this run's
  for (const auto& [name, value] : {std::pair("key", Json("0")), std::pair("mean", Json("text"))}) {
    Json other = testing::json_of(result);
    other["std"] = 1e9;
    other[name] = value;
    write_file_atomically(result, other.dump());
    write_file_atomically(run + "/status.json", R"({"state": "running", "step": 40})");
    expect_done(train(run, evaluated + Arguments{"--resume"}));
    EXPECT_EQ(testing::json_of(result)["std"], Json::parse(measured)["std"]) << name;
  }
}

TEST_F(Resume, SignalsDoNotChangeWhichCheckpointsAreKept) {
  const std::string run = file("run");
  EXPECT_EQ(stopped_after(40, SIGTERM, run).status, 130);
  EXPECT_EQ(stopped_after(testing::newest_step(run) + 1, SIGINT, run, {"--resume"}).status, 130);
  const int64_t end = (testing::newest_step(run) / 20 + 2) * 20;
  expect_done(train(run, Arguments{"--quiet", "--resume"} + until(end)));
  expect_undisturbed(run, end);
  EXPECT_EQ(testing::names_in(run + "/checkpoints"),
            testing::names_in(file("reference of " + std::to_string(end)) + "/checkpoints"));
}

TEST_F(Resume, KilledBetweenTheHalvesOfItsFirstCheckpointARunStartsAfresh) {
  // the writes before: config, provenance, decomposition, metrics, status, then the pair
  const std::string run = file("run");
  testing::ProcessOptions fault;
  fault.environment = {"DROP_FAULT=before-rename:7"};
  const ProcessResult killed =
      testing::run_process(train_command(run, Arguments{"--quiet"} + until(30)), fault);
  EXPECT_EQ(killed.signal, SIGKILL) << killed.err;
  EXPECT_TRUE(std::filesystem::exists(training_file_of(run, 0)));
  EXPECT_FALSE(std::filesystem::exists(checkpoint_of(run, 0)));
  expect_done(train(run, Arguments{"--quiet", "--resume"} + until(30)));
  expect_undisturbed(run, 30);
  // and what was half written is gone
  for (const std::string& name : testing::names_in(run + "/checkpoints"))
    EXPECT_EQ(name.find(".tmp."), std::string::npos) << name;
}

// ---- folders ------------------------------------------------------------------------------------

TEST_F(Resume, StartsAfreshInAnAbsentOrEmptyFolder) {
  const Arguments more = Arguments{"--resume", "--quiet"} + until(20);
  expect_done(train(file("absent"), more));
  std::filesystem::create_directories(file("empty"));
  expect_done(train(file("empty"), more));
  expect_same_state(file("absent"), file("empty"), 20);
}

TEST_F(Resume, AFinishedRunStaysAsItIs) {
  const std::string run = file("run");
  expect_done(train(run, Arguments{"--quiet"} + until(20)));
  const std::string metrics = read_text_file(run + "/metrics.csv");
  const auto names = testing::names_in(run);
  const auto written = std::filesystem::last_write_time(checkpoint_of(run, 20));
  expect_done(train(run, Arguments{"--quiet", "--resume"} + until(20)));
  EXPECT_EQ(read_text_file(run + "/metrics.csv"), metrics);
  EXPECT_EQ(testing::names_in(run), names);
  EXPECT_EQ(std::filesystem::last_write_time(checkpoint_of(run, 20)), written);
  EXPECT_EQ(state_of(run), "finished");

  // without --resume it is refused, and stays as well
  expect_refusal(train(run, Arguments{"--quiet"}), "drop_train", 2, {run, "--resume", "--out"});
  EXPECT_EQ(read_text_file(run + "/metrics.csv"), metrics);

  // what has been learned with one setting does not go on with another
  expect_refusal(train(run, Arguments{"--quiet", "--resume"} + set({"train.discount=0.5"})),
                 "drop_train", 2, {"config.yaml", "discount", "0.99", "0.5"});
  expect_refusal(train(run, Arguments{"--quiet", "--resume"} + set({"model.hidden_width=32"})),
                 "drop_train", 2, {"hidden_width", "16", "32"});
  expect_refusal(train(run, Arguments{"--quiet", "--resume", "--seed", "5"}), "drop_train", 3,
                 {"seed"});
  // what its checkpoints hold stays as its files tell, and nothing that was asked for is dropped
  expect_refusal(
      train(run, Arguments{"--quiet", "--resume"} + until(40) + set({"search.ascent_steps=3"})),
      "drop_train", 2, {"search.ascent_steps: 20", "search.ascent_steps: 3", "drop_eval --set"});
  expect_refusal(
      train(run, Arguments{"--quiet", "--resume"} + until(20) + set({"eval.episodes=5"})),
      "drop_train", 2, {"eval.episodes: 2", "eval.episodes: 5", "has finished", "drop_eval"});
  EXPECT_THAT(read_text_file(run + "/config.yaml"), HasSubstr("ascent_steps: 20"));
  EXPECT_EQ(testing::newest_step(run), 20);

  // nor with other data
  expect_done(testing::run_program(
      "drop_data", {"generate", "--task", "maze2d-umaze-dense", "--steps", "3000", "--seed", "1",
                    "--out", file("other.hdf5"), "--quiet"}));
  expect_refusal(train(run, Arguments{"--quiet", "--resume"} +
                                set({"dataset=" + file("other.hdf5"), "train.steps=30"})),
                 "drop_train", 3, {"SHA-256", sha256_of_file(testing::maze_data())});
  EXPECT_EQ(testing::newest_step(run), 20);
  EXPECT_EQ(testing::data_hash(checkpoint_of(run, 20)),
            testing::data_hash(checkpoint_of(testing::finished_run(), 20)));
}

TEST_F(Resume, ARunWhoseCheckpointsAreGoneIsNotStartedOver) {
  const std::string run = file("run");
  expect_done(train(run, Arguments{"--quiet"} + until(20)));
  std::filesystem::rename(run + "/checkpoints", file("elsewhere"));
  const std::string metrics = read_text_file(run + "/metrics.csv");
  for (const bool with_status : {true, false}) {
    if (!with_status) std::filesystem::remove(run + "/status.json");
    expect_refusal(train(run, Arguments{"--quiet", "--resume"} + until(40)), "drop_train", 3,
                   {run, "checkpoints", "are gone", "put them back"});
  }
  EXPECT_EQ(read_text_file(run + "/metrics.csv"), metrics);
  // put back, they serve
  std::filesystem::remove_all(run + "/checkpoints");
  std::filesystem::rename(file("elsewhere"), run + "/checkpoints");
  expect_done(train(run, Arguments{"--quiet", "--resume"} + until(40)));
  expect_undisturbed(run, 40);
}

TEST_F(Resume, WhatOneSeedRefusesChangesNoOther) {
  const std::string both = file("both");
  const Arguments quiet = {"--quiet"};
  expect_done(train(both, quiet + until(20) + set({"seeds=[0,1]"})));
  expect_done(train(both + "/seed_1", quiet + until(40) + Arguments{"--seed", "1", "--resume"}));
  const std::string config = read_text_file(both + "/seed_0/config.yaml");
  const Arguments other = set({"seeds=[0,1]", "eval.episodes=5"});
  expect_refusal(train(both, quiet + until(40) + other + Arguments{"--resume"}), "drop_train", 2,
                 {"seed_1", "eval.episodes", "has finished"});
  EXPECT_EQ(read_text_file(both + "/seed_0/config.yaml"), config);
  // a finished run without its config is still a finished run
  std::filesystem::remove(both + "/seed_1/config.yaml");
  expect_done(train(both + "/seed_1", quiet + until(40) + Arguments{"--seed", "1", "--resume"}));
}

TEST_F(Resume, ARunOfComsIsLeftAlone) {
  const std::string run = file("coms");
  expect_done(testing::run_program("drop_coms", {"--config", config(), "--out", run, "--quiet"}));
  const auto names = testing::names_in(run);
  const std::string metrics = read_text_file(run + "/metrics.csv");
  for (const Arguments& more : {Arguments{}, Arguments{"--resume"}})
    expect_refusal(train(run, Arguments{"--quiet"} + more), "drop_train", 2, {run, "drop_coms"});
  EXPECT_EQ(testing::names_in(run), names);
  EXPECT_EQ(read_text_file(run + "/metrics.csv"), metrics);
}

TEST_F(Resume, SeedsThatStandAtDifferentStepsGoOnToTheSameEnd) {
  const Arguments both = Arguments{"--quiet"} + set({"seeds=[0, 1]"});
  expect_done(train(file("alone/seed_0"), Arguments{"--quiet"} + until(40)));
  expect_done(train(file("alone"), both + Arguments{"--resume"} + until(60)));
  expect_done(train(file("together"), both + until(60)));
  for (const char* seed : {"/seed_0", "/seed_1"}) {
    expect_same_state(file("alone") + seed, file("together") + seed, 60);
    EXPECT_EQ(state_of(file("alone") + seed), "finished");
  }
}

TEST_F(Resume, OneFolderHasOneTrainer) {
  const std::string run = file("run");
  Process first(train_command(run, Arguments{"--quiet"} + set({kEndless})));
  ASSERT_TRUE(first.wait_until([&] { return testing::newest_step(run) >= 0; }));
  expect_refusal(train(run, Arguments{"--quiet"}), "drop_train", 2, {run});
  expect_refusal(train(run, Arguments{"--quiet", "--resume"}), "drop_train", 2, {run, "another"});
  // the first one has not noticed
  EXPECT_TRUE(first.running());
  EXPECT_EQ(state_of(run), "running");
  first.send(SIGTERM);
  const ProcessResult stopped = first.wait();
  EXPECT_EQ(stopped.status, 130) << stopped.err;
}

// ---- damaged checkpoints ------------------------------------------------------------------------

class Damage : public Resume {
 protected:
  // a copy of the finished run of 60 steps
  std::string copy(const std::string& name) {
    std::filesystem::copy(testing::finished_run(), file(name),
                          std::filesystem::copy_options::recursive);
    return file(name);
  }
  static void flip_last_bit(const std::string& path) {
    std::string bytes = read_text_file(path);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write_file_atomically(path, bytes);
  }
  static void truncate(const std::string& path) {
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  }
};

TEST_F(Damage, FallsBackToThePairBeforeAndEndsTheSame) {
  struct Case {
    std::string name;
    std::string named;  // what the warning must name
    std::function<void(const std::string&)> damage;
  };
  const std::string pair = testing::step_name(60);
  const Case cases[] = {
      {"flipped", pair + ".safetensors",
       [](const std::string& run) { flip_last_bit(checkpoint_of(run, 60)); }},
      {"truncated", pair + ".training.safetensors",
       [](const std::string& run) { truncate(training_file_of(run, 60)); }},
      {"half a pair", pair + ".training.safetensors",
       [](const std::string& run) { std::filesystem::remove(training_file_of(run, 60)); }},
      {"mixed", pair + ".training.safetensors", [](const std::string& run) {
         std::filesystem::copy_file(training_file_of(run, 40), training_file_of(run, 60),
                                    std::filesystem::copy_options::overwrite_existing);
       }}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string run = copy(c.name);
    c.damage(run);
    const ProcessResult result = train(run, {"--resume"});
    expect_done(result);
    EXPECT_EQ(result.out, run + "\n");
    EXPECT_THAT(result.err, HasSubstr("[warning]"));
    EXPECT_THAT(result.err, HasSubstr(c.named));
    EXPECT_THAT(result.err, HasSubstr("resumed at step 40"));
    expect_same_state(run, testing::finished_run(), 60);
    EXPECT_EQ(testing::repeatable_metrics_of(run),
              testing::repeatable_metrics_of(testing::finished_run()));
    EXPECT_EQ(state_of(run), "finished");
  }
}

TEST_F(Damage, WhatIsDamagedNeverPassesForTheNewestAgain) {
  // back to step 20 and on to 30, with one checkpoint kept: it must be 30, not the damaged 40 or 60
  const std::string run = copy("run");
  flip_last_bit(checkpoint_of(run, 40));
  flip_last_bit(checkpoint_of(run, 60));
  expect_done(
      train(run, set({"train.steps=30", "checkpoint.keep=1"}) + Arguments{"--resume", "--quiet"}));
  EXPECT_EQ(testing::newest_step(run), 30);
  EXPECT_TRUE(std::filesystem::exists(training_file_of(run, 30)));
  EXPECT_TRUE(std::filesystem::exists(checkpoint_of(run, 60) + ".bad"));
}

TEST_F(Damage, WithoutAnyGoodPairTheRunIsRefusedAndLeftAlone) {
  const std::string run = copy("run");
  for (const int64_t step : {0, 20, 40, 60}) truncate(checkpoint_of(run, step));
  const ProcessResult result = train(run, {"--resume", "--quiet"});
  expect_refusal(result, "drop_train", 3, {run});
  EXPECT_EQ(testing::names_in(run + "/checkpoints").size(), 8u);
}

}  // namespace
}  // namespace drop
