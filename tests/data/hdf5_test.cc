#include "drop/data/hdf5.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "data/hdf5_io.h"
#include "drop/base/error.h"
#include "drop/base/files.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string error_of(const std::string& path, const std::string& name) {
  try {
    read_hdf5_array(path, name);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

TEST(ReadHdf5Array, ReadsIntegersFloatsAndScalars) {
  const std::string file = testing::fixture("hopper_medium-v2.hdf5");
  const Hdf5Array observations = read_hdf5_array(file, "observations");
  EXPECT_THAT(observations.shape, ElementsAre(30, 3));
  EXPECT_FLOAT_EQ(static_cast<float>(observations.values[3 * 7 + 2]), 7.02F);
  EXPECT_THAT(read_hdf5_array(file, "infos/qpos").shape, ElementsAre(30, 2));
  const Hdf5Array scalar = read_hdf5_array(file, "metadata/iteration");
  EXPECT_TRUE(scalar.shape.empty());
  EXPECT_THAT(scalar.values, ElementsAre(5.0));
}

TEST(ReadHdf5Array, NamesWhatIsWrong) {
  const std::string file = testing::fixture("hopper_medium-v2.hdf5");
  EXPECT_THAT(error_of(file, "states"), HasSubstr("key 'states' is missing"));
  EXPECT_THAT(error_of(file, "states"), HasSubstr("infos/qpos"));
  EXPECT_THAT(error_of(file, "infos/states"), HasSubstr("is missing"));
  EXPECT_THAT(error_of(file, "infos"), HasSubstr("cannot be opened as an array"));
  EXPECT_THAT(error_of(file, "metadata/algorithm"), HasSubstr("has the type string"));
  EXPECT_THAT(error_of("no/such.h5", "states"), HasSubstr("No such file"));
  EXPECT_THAT(error_of(DROP_FIXTURES, "states"), HasSubstr("not a regular file"));
  EXPECT_THAT(error_of(testing::fixture("make_fixtures.py"), "states"),
              HasSubstr("not an HDF5 file"));
  EXPECT_THAT(error_of(testing::fixture("broken_soft_link.hdf5"), "elsewhere/observations"),
              HasSubstr("external link"));
}

TEST(ReadHdf5Array, AChunkThatTheFileCannotHoldIsRefused) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("chunk.h5");
  Hdf5Handle file = create_hdf5_in_memory(path);
  // ten rows in a chunk of 2^27: nothing is written, so nothing of it is in the file
  create_hdf5_array(file.get(), "states", H5T_IEEE_F32LE, {10, 2}, int64_t{1} << 27);
  save_hdf5(file, path);
  EXPECT_THAT(error_of(path, "states"), HasSubstr("chunks of 1.0 GiB"));
}

TEST(ReadHdf5Array, ReadsFlagsAndTellsTheTypeInTheFile) {
  const std::string file = testing::fixture("hopper_medium-v2.hdf5");
  EXPECT_EQ(read_hdf5_array(file, "observations").type, "float32");
  const Hdf5Array terminals = read_hdf5_array(file, "terminals");
  EXPECT_EQ(terminals.type, "bool");
  EXPECT_THAT(terminals.shape, ElementsAre(30));
  double sum = 0.0;
  for (const double flag : terminals.values) {
    EXPECT_TRUE(flag == 0.0 || flag == 1.0);
    sum += flag;
  }
  EXPECT_EQ(sum, 2.0);
  const Hdf5Array bytes = read_hdf5_array(testing::fixture("broken_flag.hdf5"), "terminals");
  EXPECT_EQ(bytes.type, "uint8");
}

TEST(Hdf5ArrayNames, ListsGroupsFlattened) {
  const std::vector<std::string> names = hdf5_array_names(testing::fixture("env_fidelity.hdf5"));
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_THAT(names, ::testing::Contains("hopper/episode_0/qpos"));
  EXPECT_THAT(names, ::testing::Not(::testing::Contains("hopper")));
  EXPECT_THROW(hdf5_array_names("no/such.h5"), DataError);
  EXPECT_THROW(hdf5_array_names(testing::fixture("make_fixtures.py")), DataError);
}

TEST(ReadHdf5TextAttribute, ReadsTextsOfTheRootOnly) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("result.h5");
  Hdf5ResultWriter writer(path);
  writer.set_attribute("task", "maze2d-umaze");
  writer.set_attribute("empty", "");
  writer.close();
  EXPECT_EQ(read_hdf5_text_attribute(path, "task"), "maze2d-umaze");
  EXPECT_EQ(read_hdf5_text_attribute(path, "empty"), "");
  EXPECT_EQ(read_hdf5_text_attribute(path, "seed"), std::nullopt);
  EXPECT_EQ(read_hdf5_text_attribute(testing::fixture("env_fidelity.hdf5"), "mujoco_version"),
            "3.17.0");
  EXPECT_THROW(read_hdf5_text_attribute("no/such.h5", "task"), DataError);
}

TEST(Hdf5ResultWriter, RoundTrip) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("result.h5");
  const std::vector<float> embedding = {0.5F, -1.0F, 0.25F, 1.0F, 2.0F, 3.0F};
  const std::vector<double> score = {0.1, 1e300};
  const std::vector<int64_t> subtask = {int64_t{1} << 40, -3};
  Hdf5ResultWriter writer(path);
  writer.add("best/embedding", {2, 3}, std::span<const float>(embedding));
  writer.add("best/score", {2}, std::span<const double>(score));
  writer.add("best/subtask", {2}, std::span<const int64_t>(subtask));
  writer.add("best-ada/score", {0}, std::span<const double>());
  writer.set_attribute("checkpoint", "step_1");
  EXPECT_FALSE(std::filesystem::exists(path));
  writer.close();

  EXPECT_THAT(read_hdf5_array(path, "best/embedding").shape, ElementsAre(2, 3));
  EXPECT_THAT(read_hdf5_array(path, "best/embedding").values,
              ElementsAre(0.5, -1.0, 0.25, 1.0, 2.0, 3.0));
  EXPECT_EQ(read_hdf5_array(path, "best/score").values, score);
  EXPECT_THAT(read_hdf5_array(path, "best/subtask").values, ElementsAre(1099511627776.0, -3.0));
  EXPECT_TRUE(read_hdf5_array(path, "best-ada/score").values.empty());
}

TEST(Hdf5ResultWriter, LeavesNothingWithoutClose) {
  const testing::TemporaryFolder folder;
  {
    Hdf5ResultWriter writer(folder.file("result.h5"));
    writer.add("a", {1}, std::span<const double>(std::vector<double>{1.0}));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Hdf5ResultWriter, RefusesWrongShapesAndTakenNames) {
  const testing::TemporaryFolder folder;
  const std::vector<double> values = {1.0, 2.0};
  Hdf5ResultWriter writer(folder.file("result.h5"));
  EXPECT_THROW(writer.add("a", {3}, std::span<const double>(values)), RunError);
  EXPECT_THROW(writer.add("a", {-2}, std::span<const double>(values)), RunError);
  writer.add("a", {2}, std::span<const double>(values));
  EXPECT_THROW(writer.add("a", {2}, std::span<const double>(values)), RunError);
  writer.close();
  EXPECT_THROW(writer.add("b", {2}, std::span<const double>(values)), RunError);
}

TEST(Hdf5ResultWriter, AFolderThatIsNotThereIsARunError) {
  Hdf5ResultWriter writer("/no/such/folder/result.h5");
  EXPECT_THROW(writer.close(), RunError);
}

}  // namespace
}  // namespace drop
