// drop_eval: tables, JSON, and the checkpoints that it refuses

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

#include "apps/workbench.h"
#include "drop/base/files.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/hdf5.h"
#include "drop/env/environment.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::checkpoint_of;
using ::testing::ElementsAre;
using testing::expect_done;
using testing::expect_refusal;
using testing::finished_run;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Json;
using testing::ProcessResult;
using testing::set;
using testing::TensorFile;

ProcessResult evaluate(const std::string& path, const Arguments& more) {
  return testing::run_program("drop_eval", Arguments{"--checkpoint", path, "--quiet"} + more);
}

// with `--json -` standard output is JSON and nothing else
Json json_from(const ProcessResult& result) {
  expect_done(result);
  const Json json = Json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(json.is_discarded()) << result.out;
  return json;
}

// what a seed must repeat: all but the speed
Json without_speed(Json json) {
  json.erase("env_steps_per_second");
  return json;
}

// a run on a few falls of a hopper, made once; only read from
std::string hopper_run() {
  static const testing::TemporaryFolder folder;
  static const std::string path = [] {
    const auto environment = EnvironmentRegistry::instance().make("hopper");
    D4rlWriter writer(folder.file("falls.hdf5"), 11, 3);
    RandomStream stream(2, "test");
    std::vector<double> state(11);
    std::vector<double> action(3);
    for (int episode = 0; episode < 12; ++episode) {
      environment->reset(stream, state);
      for (StepResult result; !result.terminated && !result.truncated;) {
        for (double& a : action) a = stream.uniform(-1.0, 1.0);
        const std::vector<double> before = state;
        result = environment->step(action, state);
        writer.append(before, action, result.reward, result.terminated, result.truncated);
      }
    }
    writer.close();
    std::string config = testing::small_config(folder.file("falls.hdf5"));
    config.replace(config.find("maze2d-umaze-dense"), 18, "hopper");
    write_file_atomically(folder.file("config.yaml"), config);
    const std::string run = folder.file("run");
    expect_done(testing::run_program(
        "drop_train", Arguments{"--config", folder.file("config.yaml"), "--out", run, "--quiet"} +
                          set({"train.steps=40"})));
    return run;
  }();
  return path;
}

TEST(DropEval, TheNumberOfThreadsChangesNothing) {
  for (const std::string& run : {finished_run(), hopper_run()}) {
    SCOPED_TRACE(run);
    const Arguments more = {"--rule", "best,grad,best-ada,grad-ada", "--episodes", "3",
                            "--set",  "search.ascent_steps=4",       "--json",     "-"};
    std::vector<Json> found;
    for (const char* threads : {"1", "2", "4"}) {
      Json json = json_from(evaluate(run, more + Arguments{"--threads", threads}));
      for (Json& result : json.at("results")) result = without_speed(result);
      found.push_back(json);
    }
    EXPECT_EQ(found[0].at("results").size(), 4u);
    EXPECT_EQ(found[1], found[0]);
    EXPECT_EQ(found[2], found[0]);
  }
}

TEST(DropEval, PrintsATableWithReferences) {
  const ProcessResult result =
      testing::run_program("drop_eval", {"--checkpoint", finished_run(), "--episodes", "2"});
  expect_done(result);
  for (const char* part : {"return", "normalised", "best", "grad", "best-ada", "grad-ada", "random",
                           "expert", "maze2d-umaze-dense"}) {
    EXPECT_THAT(result.out, HasSubstr(part));
  }
  // the references are those of the JSON, with their source
  const Json reference =
      json_from(evaluate(finished_run(), {"--rule", "best", "--episodes", "1", "--json", "-"}))
          .at("reference");
  EXPECT_NE(reference.at("source"), "");
  EXPECT_THAT(result.out, HasSubstr("(" + reference["source"].get<std::string>() + ")"));
  // a line for each rule of the config
  std::set<std::string> rules;
  for (const std::string& line : testing::lines_of(result.out)) {
    rules.insert(line.substr(0, line.find(' ')));
  }
  for (const char* rule : {"best", "grad", "best-ada", "grad-ada"}) {
    EXPECT_TRUE(rules.contains(rule)) << rule;
  }
}

TEST(DropEval, TakesWhatItsCacheHolds) {
  const testing::TemporaryFolder folder;
  const std::string cache = folder.file("kept results");
  const auto files = [&] {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(cache))
      names.insert(entry.path().filename().string());
    return names;
  };
  const auto run = [&](const Arguments& more) {
    return json_from(evaluate(
        finished_run(),
        Arguments{"--last", "2", "--episodes", "2", "--cache", cache, "--json", "-"} + more));
  };
  // as without a cache, but for the speed, which a kept result repeats
  const Json first = run({"--rule", "best,grad"});
  Json plain = json_from(evaluate(
      finished_run(), {"--last", "2", "--episodes", "2", "--rule", "best,grad", "--json", "-"}));
  Json compared = first;
  for (Json* json : {&plain, &compared}) {
    for (Json& result : json->at("results")) result = without_speed(result);
  }
  EXPECT_EQ(compared, plain);
  const std::set<std::string> four = files();
  EXPECT_EQ(four.size(), 4u);
  EXPECT_EQ(run({"--rule", "best,grad"}), first);
  EXPECT_EQ(files(), four);
  // more rules: only theirs are measured; other settings are others
  const Json more = run({"--rule", "best,grad,best-ada"});
  EXPECT_EQ(files().size(), 6u);
  EXPECT_EQ(more.at("results").at(0), first.at("results").at(0));
  run({"--rule", "grad", "--set", "search.ascent_steps=1"});
  EXPECT_EQ(files().size(), 8u);
  run({"--rule", "best", "--seed", "1"});
  EXPECT_EQ(files().size(), 10u);
  // a damaged entry is measured anew and replaced
  for (const std::string& name : files()) write_file_atomically(cache + "/" + name, "{\"task\": 3");
  Json again = run({"--rule", "best,grad"});
  for (Json& result : again.at("results")) result = without_speed(result);
  EXPECT_EQ(again, compared);
  EXPECT_EQ(files().size(), 10u);
  // another program measures anew, and so it is for one that was built of changed sources
  const std::string other = folder.file("drop_eval");
  write_file_atomically(other, read_text_file(testing::program("drop_eval").front()) + "x");
  std::filesystem::permissions(other, std::filesystem::perms::owner_all);
  expect_done(testing::run_process({other, "--checkpoint", finished_run(), "--rule", "best",
                                    "--episodes", "2", "--cache", cache, "--quiet"}));
  EXPECT_EQ(files().size(), 11u);
}

TEST(DropEval, RefusesACacheThatCannotServe) {
  const testing::TemporaryFolder folder;
  write_file_atomically(folder.file("file"), "");
  expect_refusal(evaluate(finished_run(), {"--cache", folder.file("file") + "/x"}), "drop_eval", 2,
                 {"/file/x"});
  expect_refusal(
      evaluate(finished_run(), {"--cache", folder.file("c"), "--trace", folder.file("t.h5")}),
      "drop_eval", 2, {"--cache", "--trace"});
}

TEST(DropEval, OneRuleOnOneCheckpointIsOneObject) {
  const testing::TemporaryFolder folder;
  const Arguments more = {"--rule", "best-ada", "--episodes", "3", "--seed", "5"};
  const Json json = json_from(evaluate(finished_run(), more + Arguments{"--json", "-"}));
  EXPECT_EQ(json["task"], "maze2d-umaze-dense");
  EXPECT_EQ(json["dataset"], "maze");
  // a run's folder stands for its newest checkpoint
  EXPECT_EQ(json["checkpoint"], checkpoint_of(finished_run(), 60));
  EXPECT_EQ(json["step"], 60);
  EXPECT_EQ(json["rule"], "best-ada");
  EXPECT_EQ(json["seed"], 5);
  ASSERT_EQ(json["episodes"].size(), 3u);
  const double random = json["reference"]["random"];
  const double expert = json["reference"]["expert"];
  double sum = 0.0;
  double squares = 0.0;
  for (const Json& episode : json["episodes"]) {
    const double value = episode["return"];
    sum += value;
    squares += value * value;
    EXPECT_EQ(episode["length"], 300);
    EXPECT_EQ(episode["terminated"], false);
    EXPECT_NEAR(episode["normalised_score"].get<double>(),
                100.0 * (value - random) / (expert - random), 1e-9);
  }
  EXPECT_NEAR(json["mean"].get<double>(), sum / 3, 1e-9);
  EXPECT_NEAR(json["std"].get<double>(), std::sqrt(squares / 3 - sum * sum / 9), 1e-6);
  EXPECT_GT(json["env_steps_per_second"].get<double>(), 0.0);

  // the same seed again, into a file: the same figures, and the table on standard output
  const std::string file = folder.file("result.json");
  const ProcessResult again = evaluate(finished_run(), more + Arguments{"--json", file});
  expect_done(again);
  EXPECT_THAT(again.out, HasSubstr("best-ada"));
  EXPECT_EQ(without_speed(testing::json_of(file)), without_speed(json));

  // another seed starts elsewhere
  const Json other = json_from(evaluate(
      finished_run(), {"--rule", "best-ada", "--episodes", "3", "--seed", "6", "--json", "-"}));
  EXPECT_NE(other["episodes"], json["episodes"]);
}

TEST(DropEval, SeveralResultsComeWithASummary) {
  const Json json = json_from(evaluate(
      finished_run(), {"--last", "2", "--rule", "best, grad", "--episodes", "2", "--json", "-"}));
  std::vector<std::string> order;
  for (const Json& result : json.at("results")) {
    order.push_back(std::to_string(result["step"].get<int>()) + " " +
                    result["rule"].get<std::string>());
    EXPECT_EQ(result["episodes"].size(), 2u);
  }
  EXPECT_THAT(order, ElementsAre("40 best", "40 grad", "60 best", "60 grad"));
  ASSERT_EQ(json.at("summary").size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const Json& summary = json["summary"][i];
    EXPECT_EQ(summary["rule"], i == 0 ? "best" : "grad");
    EXPECT_EQ(summary["checkpoints"], 2);
    EXPECT_EQ(summary["episodes"], 4);
    const double mean =
        (json["results"][i]["mean"].get<double>() + json["results"][i + 2]["mean"].get<double>()) /
        2;
    EXPECT_NEAR(summary["mean"].get<double>(), mean, 1e-9);
  }
}

TEST(DropEval, TakesSeveralCheckpointsAndMoreThanARunHas) {
  const Json json = json_from(testing::run_program(
      "drop_eval", {"--checkpoint", checkpoint_of(finished_run(), 0), finished_run(), "--last",
                    "100", "--rule", "best", "--episodes", "1", "--json", "-", "--quiet"}));
  std::vector<int> steps;
  for (const Json& result : json.at("results")) steps.push_back(result["step"]);
  // a run's untrained step 0 counts only where it is named or there is no other
  EXPECT_THAT(steps, ElementsAre(0, 20, 40, 60));
}

TEST(DropEval, SearchSettingsMayBeOverriddenTheRestMayNot) {
  const Arguments more = {"--rule", "grad", "--episodes", "1", "--json", "-"};
  // without a single ascent step `grad` is `best`
  const Json still = json_from(evaluate(finished_run(), more + set({"search.ascent_steps=0"})));
  const Json best =
      json_from(evaluate(finished_run(), {"--rule", "best", "--episodes", "1", "--json", "-"}));
  EXPECT_EQ(still["episodes"], best["episodes"]);
  // a result tells what was searched by
  const Json stored = {{"ascent_steps", 20},
                       {"ascent_step_size", 0.01},
                       {"clip", "on"},
                       {"normalise_gradient", "off"},
                       {"keep_best_iterate", "off"},
                       {"sample", "off"},
                       {"starts", "prior"}};
  EXPECT_EQ(best["search"], stored);
  EXPECT_EQ(still["search"]["ascent_steps"], 0);
  EXPECT_EQ(best["physics"], "d4rl");
  EXPECT_TRUE(best["commit"].is_string());
  // the starts lie in the checkpoint
  expect_refusal(evaluate(finished_run(), more + set({"search.starts=data"})), "drop_eval", 2,
                 {"search.starts"});
  expect_refusal(evaluate(finished_run(), more + set({"model.hidden_width=8"})), "drop_eval", 2,
                 {"model.hidden_width"});
  expect_refusal(evaluate(finished_run(), more + set({"search.steps=8"})), "drop_eval", 2,
                 {"search.steps"});
}

TEST(DropEval, RefusesWrongUsage) {
  expect_refusal(evaluate(finished_run(), {"--rule", "best,bset"}), "drop_eval", 2,
                 {"bset", "best-ada"});
  expect_refusal(evaluate(finished_run(), {"--rule", ","}), "drop_eval", 2, {"rule"});
  expect_refusal(evaluate(finished_run(), {"--episodes", "0"}), "drop_eval", 2, {"--episodes"});
  expect_refusal(evaluate(finished_run(), {"--episodes", "ten"}), "drop_eval", 2, {"ten"});
  expect_refusal(evaluate(finished_run(), {"--seed", "-1"}), "drop_eval", 2, {"seed", "-1"});
  expect_refusal(evaluate(finished_run(), {"--threads", "-1"}), "drop_eval", 2, {"--threads"});
  expect_refusal(evaluate(finished_run(), {"--network-threads", "99999"}), "drop_eval", 2,
                 {"threads", "99999"});
}

TEST(DropEval, OneTableHasOneDataFileAndEachCheckpointOnce) {
  const std::string newest = checkpoint_of(finished_run(), 60);
  expect_refusal(evaluate(finished_run(), {"--checkpoint", newest}), "drop_eval", 2,
                 {newest, "twice"});
  // of the same name and task, but other physics, or another file
  const testing::TemporaryFolder folder;
  for (const auto& [key, value] :
       {std::pair("dataset_sha256", std::string(64, 'a')), std::pair("config", std::string())}) {
    TensorFile other = TensorFile::read(newest);
    std::string text = other.metadata(key);
    if (value.empty())
      text.replace(text.find("physics: d4rl"), 13, "physics: modern");
    else
      text = value;
    other.header["__metadata__"][key] = text;
    other.write(folder.file("other.safetensors"));
    expect_refusal(evaluate(newest, {"--checkpoint", folder.file("other.safetensors")}),
                   "drop_eval", 2, {"other.safetensors", "evaluate different data one by one"});
  }
  // names that the system refuses are no crash
  expect_refusal(evaluate(std::string(300, 'x'), {}), "drop_eval", 3, {"no such checkpoint"});
}

class Traces : public testing::Workbench {
 protected:
  // a trace read back: one episode of a rule
  struct Episode {
    std::string file;
    std::string group;
    Hdf5Array operator[](const std::string& name) const {
      return read_hdf5_array(file, group + "/" + name);
    }
  };
};

TEST_F(Traces, AgreeWithTheResultsThePhysicsAndDropInfer) {
  for (const std::string& run : {finished_run(), hopper_run()}) {
    SCOPED_TRACE(run);
    const std::string trace = file("trace.h5");
    const Json json =
        json_from(evaluate(run, {"--rule", "best,grad,best-ada,grad-ada", "--episodes", "2",
                                 "--seed", "4", "--json", "-", "--trace", trace}));
    const std::string checkpoint = json["results"][0]["checkpoint"];
    EXPECT_EQ(read_hdf5_text_attribute(trace, "checkpoint"), checkpoint);
    EXPECT_EQ(read_hdf5_text_attribute(trace, "seed"), "4");
    // what the run knows of its sub-tasks
    std::vector<double> returns;
    const Json decomposition = testing::json_of(run + "/decomposition.json");
    for (const Json& subtask : decomposition["subtasks"]) returns.push_back(subtask["return_mean"]);
    EXPECT_EQ(read_hdf5_array(trace, "subtask_return_mean").values, returns);

    const auto environment =
        EnvironmentRegistry::instance().make(json["results"][0]["task"].get<std::string>());
    const auto state_dim = static_cast<size_t>(environment->info().state_dim);
    const auto action_dim = static_cast<size_t>(environment->info().action_dim);
    for (const Json& result : json["results"]) {
      const std::string rule = result["rule"];
      for (int64_t i = 0; i < 2; ++i) {
        SCOPED_TRACE(rule + " " + std::to_string(i));
        const Episode episode = {trace, rule + "/episode_00" + std::to_string(i)};
        const std::vector<double> rewards = episode["rewards"].values;
        const Json& known = result["episodes"][static_cast<size_t>(i)];
        EXPECT_EQ(rewards.size(), known["length"]);
        EXPECT_EQ(std::accumulate(rewards.begin(), rewards.end(), 0.0), known["return"]);

        // the actions, from the first state on, give the states
        const std::vector<double> actions = episode["actions"].values;
        const Hdf5Array qpos = episode["qpos"];
        const Hdf5Array qvel = episode["qvel"];
        std::vector<double> state(state_dim);
        environment->set_state(std::span(qpos.values).first(static_cast<size_t>(qpos.shape[1])),
                               std::span(qvel.values).first(static_cast<size_t>(qvel.shape[1])),
                               state);
        std::vector<double> states = state;
        for (size_t t = 0; t < rewards.size(); ++t) {
          environment->step(std::span(actions).subspan(t * action_dim, action_dim), state);
          states.insert(states.end(), state.begin(), state.end());
        }
        EXPECT_EQ(episode["states"].values, states);

        // drop_infer at the traced states of one episode: a rule that keeps its embedding has the
        // first one's
        if (i > 0) continue;
        const std::string input = file("states.h5");
        Hdf5ResultWriter writer(input);
        const auto steps = static_cast<int64_t>(rewards.size());
        writer.add("states", {steps, static_cast<int64_t>(state_dim)},
                   std::span<const double>(states).first(rewards.size() * state_dim));
        writer.close();
        expect_done(testing::run_program("drop_infer",
                                         {"--checkpoint", checkpoint, "--states", input, "--out",
                                          file("inferred.h5"), "--rule", rule, "--quiet"}));
        const std::vector<double> scores = episode["scores"].values;
        const std::vector<double> embeddings = episode["embeddings"].values;
        const std::vector<double> inferred =
            read_hdf5_array(file("inferred.h5"), rule + "/score").values;
        const std::vector<double> chosen =
            read_hdf5_array(file("inferred.h5"), rule + "/embedding").values;
        const bool adapts = rule.ends_with("-ada");
        for (size_t t = 0; t < rewards.size(); ++t) {
          if (adapts || t == 0) {
            EXPECT_NEAR(scores[t], inferred[t], 1e-4 * (1 + std::abs(inferred[t]))) << t;
          }
          for (size_t k = 0; k < 5; ++k) {
            EXPECT_NEAR(embeddings[t * 5 + k], chosen[(adapts ? t : 0) * 5 + k], 1e-4) << t;
            if (!adapts) {
              ASSERT_EQ(embeddings[t * 5 + k], embeddings[k]) << t;
            }
          }
          // no kept embedding is better than the best one here
          if (rule == "best") {
            EXPECT_LE(scores[t], inferred[t] + 1e-4 * (1 + std::abs(inferred[t]))) << t;
          }
        }
      }
    }
  }
}

TEST_F(Traces, AndVideosHaveAFileForEachRule) {
  const Arguments more = {"--rule", "best,best-ada", "--episodes", "1"};
  const ProcessResult result = evaluate(hopper_run(), more + Arguments{"--video", file("v.mp4")});
  if (result.status == 1) {
    // no ffmpeg, or nothing to draw with: one line says so and nothing is left
    expect_refusal(result, "drop_eval", 1);
    EXPECT_THAT(result.err, ::testing::AnyOf(HasSubstr("no program ffmpeg"),
                                             HasSubstr("nothing here can draw")));
    EXPECT_THAT(testing::names_in(std::filesystem::path(file("v.mp4")).parent_path()), IsEmpty());
    GTEST_SKIP() << "no video can be made here: " << result.err;
  }
  expect_done(result);
  EXPECT_GT(std::filesystem::file_size(file("v-best.mp4")), 500u);
  EXPECT_GT(std::filesystem::file_size(file("v-best-ada.mp4")), 500u);
  expect_done(
      evaluate(hopper_run(), {"--rule", "grad", "--episodes", "1", "--video", file("one.mp4")}));
  EXPECT_GT(std::filesystem::file_size(file("one.mp4")), 500u);
}

TEST_F(Traces, AreRefusedBeforeAnythingRuns) {
  // evaluating so many episodes would take hours
  const Arguments many = {"--episodes", "100000"};
  const auto refused = [&](const Arguments& more, int status, const Arguments& parts) {
    SCOPED_TRACE(::testing::PrintToString(more));
    expect_refusal(evaluate(finished_run(), many + more), "drop_eval", status, parts);
  };
  refused({"--last", "2", "--trace", file("t.h5")}, 2, {"--trace", "found 2", "one"});
  refused({"--checkpoint", hopper_run(), "--trace", file("t.h5")}, 2, {"--trace", "found 2"});
  refused({"--last", "2", "--video", file("v.mp4")}, 2, {"--video", "found 2", "one"});
  refused({"--video", file("missing/v.mp4"), "--rule", "best"}, 1, {file("missing/v.mp4")});
  refused({"--trace", file("missing/t.h5")}, 1, {file("missing/t.h5")});
  refused({"--trace", file("")}, 1, {file("")});
  refused({"--json", file("missing/r.json")}, 1, {file("missing/r.json")});
  EXPECT_FALSE(std::filesystem::exists(file("t.h5")));
}

class Checkpoints : public testing::Workbench {
 protected:
  // a changed copy of a good checkpoint, with both hashes right
  std::string changed(const std::function<void(TensorFile&)>& change) {
    TensorFile copy = TensorFile::read(checkpoint_of(finished_run(), 60));
    change(copy);
    copy.write(file("changed.safetensors"));
    return file("changed.safetensors");
  }
  // a copy with other bytes
  std::string damaged(const std::function<void(std::string&)>& damage) {
    std::string bytes = read_text_file(checkpoint_of(finished_run(), 60));
    damage(bytes);
    return write("damaged.safetensors", bytes);
  }
  void expect_eval_refuses(const std::string& path, int status, const Arguments& parts) {
    SCOPED_TRACE(::testing::PrintToString(parts));
    expect_refusal(evaluate(path, {"--rule", "best", "--episodes", "1"}), "drop_eval", status,
                   Arguments{path} + parts);
  }
};

TEST_F(Checkpoints, ARewrittenOneIsAsGood) {
  // the tests' own writer is right: what follows is refused for what was changed
  const std::string path = changed([](TensorFile&) {});
  EXPECT_EQ(read_text_file(path), read_text_file(checkpoint_of(finished_run(), 60)));
}

TEST_F(Checkpoints, DamagedOnesAreRefused) {
  expect_eval_refuses(file("missing.safetensors"), 3, {});
  std::filesystem::create_directories(file("empty folder"));
  expect_eval_refuses(file("empty folder"), 3, {"no checkpoint"});
  expect_eval_refuses(write("empty.safetensors", ""), 3, {});
  expect_eval_refuses(write("text.safetensors", "this is no checkpoint, just some text"), 3, {});
  expect_eval_refuses(damaged([](std::string& bytes) { bytes.resize(bytes.size() - 4); }), 3,
                      {"payload_sha256"});
  expect_eval_refuses(damaged([](std::string& bytes) { bytes.resize(50); }), 3, {"header"});
  expect_eval_refuses(damaged([](std::string& bytes) { bytes.back() ^= 1; }), 3,
                      {"payload_sha256"});
  // a setting in the header, changed in place
  expect_eval_refuses(damaged([](std::string& bytes) {
                        const size_t at = bytes.find("discount: 0.99");
                        ASSERT_NE(at, std::string::npos);
                        bytes[at + 12] = '1';
                      }),
                      3, {"header_sha256"});
  expect_eval_refuses(damaged([](std::string& bytes) { bytes += "more"; }), 3, {});
  // the training half is no model
  expect_eval_refuses(testing::training_file_of(finished_run(), 60), 3, {});
}

TEST_F(Checkpoints, WrongContentWithRightHashesIsRefused) {
  const std::string weight = "score.state_action_encoder.0.weight";
  expect_eval_refuses(changed([&](TensorFile& file) {
                        EXPECT_EQ(file.header[weight]["shape"], Json({16, 6}));
                        file.header[weight]["shape"] = {6, 16};
                      }),
                      3, {weight, "[6, 16]", "[16, 6]"});
  expect_eval_refuses(changed([&](TensorFile& file) {
                        Json renamed = Json::object();
                        for (const auto& [name, entry] : file.header.items()) {
                          renamed[name == weight ? "score.other" : name] = entry;
                        }
                        file.header = renamed;
                      }),
                      3, {weight, "missing"});
  expect_eval_refuses(changed([&](TensorFile& file) {
                        file.set_value(weight, 7, std::numeric_limits<float>::quiet_NaN());
                      }),
                      3, {weight, "7", "finite"});
  expect_eval_refuses(changed([](TensorFile& file) {
                        file.set_value("selftest.scores", 2,
                                       file.values("selftest.scores")[2] + 1.0f);
                      }),
                      3, {"self-test"});
  expect_eval_refuses(changed([](TensorFile& file) {
                        for (size_t i = 0; i < 4; ++i) {
                          file.set_value("policy.action_encoder.3.bias", i % 2, 3.0f);
                        }
                      }),
                      3, {"self-test"});
  expect_eval_refuses(
      changed([](TensorFile& file) { file.header["__metadata__"]["format_version"] = "2"; }), 3,
      {"format_version", "2"});
  expect_eval_refuses(
      changed([](TensorFile& file) { file.header["__metadata__"].erase("reward_scale"); }), 3,
      {"reward_scale"});
  expect_eval_refuses(
      changed([](TensorFile& file) { file.header["__metadata__"]["config"] = "train: {x: 1}"; }), 3,
      {"config"});
}

TEST_F(Checkpoints, TasksWithoutAnEnvironmentAreNamed) {
  expect_eval_refuses(changed([](TensorFile& file) { file.header["__metadata__"]["task"] = ""; }),
                      2, {"task"});
  // nothing is wrong with this file but that its task is unknown here
  const auto refused = [&](const std::string& task, const Arguments& parts) {
    const std::string path =
        changed([&](TensorFile& file) { file.header["__metadata__"]["task"] = task; });
    expect_refusal(evaluate(path, {"--rule", "best", "--episodes", "1"}), "drop_eval", 2, parts);
  };
  refused("maze2d-umaxe", {"maze2d-umaxe", "maze2d-umaze"});
  // and a task of other dimensions than the model's
  refused("hopper", {"hopper", "11", "4"});
}

}  // namespace
}  // namespace drop
