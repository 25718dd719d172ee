// drop_infer: what the rules choose at states of the data

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "apps/workbench.h"
#include "drop/base/error.h"
#include "drop/data/hdf5.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::checkpoint_of;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::expect_done;
using testing::expect_refusal;
using testing::finished_run;
using ::testing::HasSubstr;
using testing::ProcessResult;
using testing::TensorFile;

constexpr int64_t kStates = 50;

class DropInfer : public testing::Workbench {
 protected:
  // every 60th observation of the data
  static std::vector<float> some_states() {
    const Hdf5Array all = read_hdf5_array(testing::maze_data(), "observations");
    std::vector<float> states;
    for (int64_t row = 0; row < kStates * 60; row += 60) {
      for (int64_t i = 0; i < 4; ++i) {
        states.push_back(static_cast<float>(all.values[static_cast<size_t>(row * 4 + i)]));
      }
    }
    return states;
  }

  std::string write_states(const std::string& name, const std::vector<int64_t>& shape,
                           std::span<const float> values, const std::string& key = "states") {
    Hdf5ResultWriter writer(file(name));
    writer.add(key, shape, values);
    writer.close();
    return file(name);
  }

  ProcessResult infer(const std::string& checkpoint, const std::string& states,
                      const std::string& out, const Arguments& more = {}) {
    return testing::run_program(
        "drop_infer",
        Arguments{"--checkpoint", checkpoint, "--states", states, "--out", out} + more);
  }

  const std::string checkpoint_ = checkpoint_of(finished_run(), 60);
};

TEST_F(DropInfer, WritesAGroupForEachRule) {
  const std::vector<float> states = some_states();
  const std::string input = write_states("S.h5", {kStates, 4}, states);
  const std::string output = file("R.h5");
  const ProcessResult result = infer(checkpoint_, input, output);
  expect_done(result);
  EXPECT_THAT(result.out, HasSubstr(output));

  const auto array = [&](const std::string& rule, const std::string& name) {
    return read_hdf5_array(output, rule + "/" + name);
  };
  const TensorFile checkpoint = TensorFile::read(checkpoint_);
  const std::vector<float> embeddings = checkpoint.values("embeddings");
  ASSERT_EQ(embeddings.size(), 4u * 5);
  for (const std::string rule : {"best", "grad", "best-ada", "grad-ada"}) {
    SCOPED_TRACE(rule);
    EXPECT_THAT(array(rule, "embedding").shape, ElementsAre(kStates, 5));
    EXPECT_THAT(array(rule, "subtask").shape, ElementsAre(kStates));
    EXPECT_THAT(array(rule, "score").shape, ElementsAre(kStates));
    EXPECT_THAT(array(rule, "action").shape, ElementsAre(kStates, 2));
    const auto within = [](double low, double high) {
      return Each(::testing::AllOf(::testing::Ge(low), ::testing::Le(high)));
    };
    EXPECT_THAT(array(rule, "subtask").values, within(0, 3));
    EXPECT_THAT(array(rule, "action").values, within(-1, 1));
    EXPECT_THAT(array(rule, "embedding").values, within(-1, 1));
    for (const double score : array(rule, "score").values) EXPECT_TRUE(std::isfinite(score));
  }

  // each row is a state of its own: an adaptive rule has nothing to adapt to
  for (const char* name : {"embedding", "subtask", "score", "action"}) {
    EXPECT_EQ(array("best", name).values, array("best-ada", name).values) << name;
  }
  // `best` picks one of the checkpoint's embeddings, `grad` starts there and moves
  const std::vector<double> chosen = array("best", "subtask").values;
  EXPECT_EQ(array("grad", "subtask").values, chosen);
  const std::vector<double> picked = array("best", "embedding").values;
  for (size_t i = 0; i < picked.size(); ++i) {
    const size_t subtask = static_cast<size_t>(chosen[i / 5]);
    ASSERT_EQ(static_cast<float>(picked[i]), embeddings[subtask * 5 + i % 5]) << i;
  }
  EXPECT_NE(array("grad", "embedding").values, picked);
  // ascent ascends: no end point of grad-ada is below the best start by more than rounding
  const std::vector<double> start = array("best", "score").values;
  const std::vector<double> end = array("grad-ada", "score").values;
  for (size_t i = 0; i < start.size(); ++i) EXPECT_GT(end[i], start[i] - 1e-3) << i;
}

TEST_F(DropInfer, AgreesWithNumpy) {
  if (!testing::has_python()) {
    GTEST_SKIP() << "no Python with h5py, numpy, safetensors and yaml (scripts/setup.sh)";
  }
  const std::string input = write_states("S.h5", {kStates, 4}, some_states());
  expect_done(infer(checkpoint_, input, file("R.h5"), {"--quiet"}));
  const std::string script = std::string(DROP_SOURCE_DIR) + "/tests/golden/check_infer.py";
  const ProcessResult check =
      testing::run_process({DROP_PYTHON, script, checkpoint_, input, file("R.h5")});
  EXPECT_EQ(check.status, 0) << check.out << check.err;
  EXPECT_THAT(check.out, HasSubstr("grad-ada  ok"));
}

TEST_F(DropInfer, WritesOnlyTheRulesThatAreAskedForAndIsQuiet) {
  const std::string input = write_states("S.h5", {1, 4}, std::vector<float>(4, 1.0f));
  const ProcessResult result =
      infer(checkpoint_, input, file("R.h5"), {"--rule", "grad", "--quiet"});
  expect_done(result);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "");
  EXPECT_NO_THROW(read_hdf5_array(file("R.h5"), "grad/score"));
  EXPECT_THROW(read_hdf5_array(file("R.h5"), "best/score"), DataError);
}

TEST_F(DropInfer, RefusesBadStates) {
  const std::string out = file("R.h5");
  const auto refused = [&](const std::string& states, const Arguments& parts) {
    SCOPED_TRACE(states);
    expect_refusal(infer(checkpoint_, states, out, {"--quiet"}), "drop_infer", 3,
                   Arguments{states} + parts);
    EXPECT_FALSE(std::filesystem::exists(out));
  };
  std::vector<float> values(12, 0.5f);
  refused(file("missing.h5"), {});
  refused(write("text.h5", "no HDF5"), {});
  refused(write_states("key.h5", {3, 4}, values, "observations"), {"states"});
  refused(write_states("width.h5", {4, 3}, values), {"states", "[4, 3]", "4]"});
  refused(write_states("rank.h5", {12}, values), {"states", "[12]"});
  values[9] = std::numeric_limits<float>::infinity();
  refused(write_states("infinite.h5", {3, 4}, values), {"states", "row 2"});
}

TEST_F(DropInfer, RefusesTheRest) {
  const std::string input = write_states("S.h5", {1, 4}, std::vector<float>(4, 1.0f));
  expect_refusal(infer(checkpoint_, input, file("R.h5"), {"--rule", "bset"}), "drop_infer", 2,
                 {"bset", "best"});
  expect_refusal(infer(file("missing"), input, file("R.h5")), "drop_infer", 3, {file("missing")});
  std::string bytes = read_text_file(checkpoint_);
  bytes.back() ^= 1;
  const std::string damaged = write("damaged.safetensors", bytes);
  expect_refusal(infer(damaged, input, file("R.h5")), "drop_infer", 3, {damaged, "payload_sha256"});
  EXPECT_FALSE(std::filesystem::exists(file("R.h5")));
  // a place that cannot be written
  expect_refusal(infer(checkpoint_, input, file("no such folder/R.h5"), {"--quiet"}), "drop_infer",
                 1, {"no such folder"});
}

}  // namespace
}  // namespace drop
