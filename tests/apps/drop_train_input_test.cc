// drop_train and what it refuses: one line, the right exit status, nothing written

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/workbench.h"

namespace drop {
namespace {

using testing::Arguments;
using testing::expect_refusal;
using testing::set;

class BadInput : public testing::Workbench {
 protected:
  void expect_train_refuses(const Arguments& arguments, int status, const Arguments& parts) {
    SCOPED_TRACE(::testing::PrintToString(arguments));
    const std::string out = file("out");
    expect_refusal(
        testing::run_program("drop_train", arguments + Arguments{"--quiet", "--out", out}),
        "drop_train", status, parts);
    EXPECT_FALSE(std::filesystem::exists(out)) << "refused, but the run's folder was made";
    std::filesystem::remove_all(out);
  }
  // a config file of its own text
  void expect_config_refused(const std::string& text, const Arguments& parts) {
    const std::string path = write("bad.yaml", text);
    expect_train_refuses({"--config", path}, 2, Arguments{path} + parts);
  }
  // the small config with other values
  void expect_override_refused(const Arguments& overrides, int status, const Arguments& parts) {
    expect_train_refuses(Arguments{"--config", config()} + set(overrides), status, parts);
  }
};

TEST_F(BadInput, Configs) {
  expect_config_refused("name: x\ntrain:\n  stepss: 5\n", {":3", "stepss", "steps?"});
  expect_config_refused("name: x\nname: y\n", {":2", "name"});
  expect_config_refused("train: {discount: 1.5}\n", {":1", "discount", "1.5", "[0, 1)"});
  expect_config_refused("train: {steps: many}\n", {"train.steps", "many"});
  expect_config_refused("train: [\n", {});
  expect_config_refused("name: x\n", {"dataset"});
  expect_train_refuses({"--config", file("missing.yaml")}, 2, {file("missing.yaml")});
  expect_train_refuses({"--config", testing::fixture("hopper_medium-v2.hdf5")}, 2,
                       {"hopper_medium-v2.hdf5"});
}

TEST_F(BadInput, CommandLines) {
  expect_override_refused({"train.stepss=5"}, 2, {"train.stepss", "train.steps"});
  expect_override_refused({"train.steps"}, 2, {"train.steps", "="});
  expect_override_refused({"train.multiplier=soft"}, 2, {"multiplier", "soft", "hinge"});
  expect_override_refused({"eval.rules=[bset]"}, 2, {"bset", "best"});
  expect_train_refuses({"--config", config(), "--seed", "minus one"}, 2, {"seed", "minus one"});
  expect_train_refuses({"--config", config(), "--device", "abacus"}, 2, {"abacus", "cpu"});
  expect_override_refused({"threads=4000"}, 2, {"threads", "4000"});
  // a task that cannot belong to the data is refused now, not at the first evaluation
  expect_override_refused({"task=hopper"}, 3, {"attribute 'task' is maze2d-umaze-dense", "hopper"});
  expect_override_refused({"task=hopper", "dataset=" + testing::fixture("hopper_medium-v2.hdf5")},
                          2, {"hopper", "11", "3"});
  expect_override_refused({"train.engine=graph"}, 2, {"train.engine", "graph"});
  expect_override_refused({"precision=bf16", "train.engine=eager"}, 2, {"precision", "bf16"});
  expect_override_refused({"precision=tf32"}, 2, {"precision", "tf32"});
  expect_train_refuses({"--config", config(), "--check-engines", "0"}, 2, {"--check-engines"});
}

TEST_F(BadInput, DataFiles) {
  const auto refused = [&](const std::string& path, const Arguments& parts) {
    expect_override_refused({"dataset=" + path}, 3, Arguments{path} + parts);
  };
  refused(testing::fixture("broken_no_rewards.hdf5"), {"'rewards'", "missing"});
  refused(testing::fixture("broken_not_finite.hdf5"), {"'observations'", "row 13"});
  refused(testing::fixture("broken_lengths.hdf5"), {"'actions'", "30", "29"});
  refused(testing::fixture("broken_flag.hdf5"), {"'terminals'", "row 3"});
  refused(testing::fixture("broken_hollow.hdf5"), {});
  refused(file("missing.hdf5"), {});
  refused(write("text.hdf5", "no HDF5 at all"), {});
  // the first half of a good file
  const std::string whole = read_text_file(testing::maze_data());
  refused(write("half.hdf5", whole.substr(0, whole.size() / 2)), {});
  expect_override_refused({"dataset=hopper-medum-v2"}, 3, {"hopper-medum-v2", "hopper-medium-v2"});
}

TEST_F(BadInput, PlacesThatCannotBeWritten) {
  const std::string occupied = write("file", "text");
  const auto result =
      testing::run_program("drop_train", {"--config", config(), "--out", occupied, "--quiet"});
  EXPECT_THAT(result.status, ::testing::AnyOf(1, 2));
  expect_refusal(result, "drop_train", result.status, {occupied});
  EXPECT_EQ(read_text_file(occupied), "text");
}

}  // namespace
}  // namespace drop
