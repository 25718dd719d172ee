#include "drop/data/d4rl_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/random.h"
#include "drop/data/hdf5.h"
#include "support/paths.h"

// the leak sanitizer asks this: HDF5 1.10.8 itself leaks when it refuses some damaged files
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5_serial"; }

namespace drop {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TrajectoryDataset read(const std::string& name, const ReadOptions& options = {}) {
  return read_d4rl_file(find_dataset(testing::fixture(name + ".hdf5")), options);
}

std::string error_of(const std::string& path) {
  try {
    read_d4rl_file(find_dataset(path));
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

std::string error_of_fixture(const std::string& name) {
  return error_of(testing::fixture(name + ".hdf5"));
}

// (begin, end) of every trajectory
std::vector<std::pair<int64_t, int64_t>> spans_of(const TrajectoryDataset& dataset) {
  std::vector<std::pair<int64_t, int64_t>> spans;
  for (const Trajectory& trajectory : dataset.trajectories) {
    spans.emplace_back(trajectory.begin, trajectory.end);
  }
  return spans;
}

// runs a Python script with one argument; what it prints, or "skip" without an interpreter
std::string run_python(const std::string& script, const std::string& argument) {
  if (!std::filesystem::exists(DROP_PYTHON)) return "skip";
  const testing::TemporaryFolder folder;
  const std::string file = folder.file("script.py");
  write_file_atomically(file, script);
  const std::string out = folder.file("out.txt");
  const std::string command =
      std::string("'") + DROP_PYTHON + "' '" + file + "' '" + argument + "' > '" + out + "' 2>&1";
  const int status = std::system(command.c_str());
  return (status == 0 ? "" : "failed: ") + read_text_file(out);
}

TEST(InspectD4rlFile, ListsEveryArray) {
  const D4rlFileInfo info = inspect_d4rl_file(testing::fixture("hopper_medium-v2.hdf5"));
  EXPECT_EQ(info.rows, 30);
  EXPECT_EQ(info.state_dim, 3);
  EXPECT_EQ(info.action_dim, 2);
  EXPECT_EQ(info.memory_bytes, 30 * (5 * 4 + 8 + 2));
  std::vector<std::string> lines;
  for (const ArrayInfo& array : info.arrays) {
    lines.push_back(array.name + " " + array.type + " " + std::to_string(array.shape.size()));
  }
  EXPECT_THAT(lines,
              ElementsAre("actions float32 2", "infos/action_log_probs float32 1",
                          "infos/qpos float64 2", "metadata/algorithm string 0",
                          "metadata/iteration int32 0", "metadata/policy/fc0/weight float32 2",
                          "next_observations float32 2", "observations float32 2",
                          "rewards float32 1", "terminals bool 1", "timeouts bool 1"));
}

TEST(InspectD4rlFile, AnExternalLinkIsNotFollowed) {
  const std::string message = error_of_fixture("broken_external_link");
  EXPECT_THAT(message, HasSubstr("key 'observations'"));
  EXPECT_THAT(message, HasSubstr("external link"));
}

TEST(ReadD4rlFile, LocomotionSplitsByEitherFlag) {
  const TrajectoryDataset dataset = read("hopper_medium-v2");
  EXPECT_EQ(dataset.id, "hopper-medium-v2");
  EXPECT_EQ(dataset.family, Family::kLocomotion);
  EXPECT_TRUE(dataset.has_timeouts);
  EXPECT_EQ(dataset.rows, 30);
  EXPECT_FLOAT_EQ(dataset.observation(12)[2], 12.02F);
  EXPECT_FLOAT_EQ(dataset.action(3)[1], std::sin(4.0F));
  EXPECT_DOUBLE_EQ(dataset.rewards[13], 6.0);
  EXPECT_THAT(spans_of(dataset), ElementsAre(std::pair(0, 10), std::pair(10, 18), std::pair(18, 25),
                                             std::pair(25, 30)));
  EXPECT_TRUE(dataset.trajectories[0].terminal);
  EXPECT_FALSE(dataset.trajectories[1].terminal);
  EXPECT_TRUE(dataset.trajectories[2].terminal);
  EXPECT_FALSE(dataset.trajectories[3].finished);
  EXPECT_DOUBLE_EQ(dataset.trajectories[0].return_sum, 21 + 0 + 1 + 2);
  EXPECT_EQ(dataset.sha256.size(), 64U);
}

TEST(ReadD4rlFile, Float64ColumnsAndOddFlagsGiveTheSameData) {
  const TrajectoryDataset plain = read("hopper_medium-v2");
  for (const char* name : {"hopper_float64", "hopper_soft_link"}) {
    const TrajectoryDataset other = read(name);
    EXPECT_EQ(other.observations, plain.observations) << name;
    EXPECT_EQ(other.actions, plain.actions) << name;
    EXPECT_EQ(other.rewards, plain.rewards) << name;
    EXPECT_EQ(other.terminals, plain.terminals) << name;
    EXPECT_EQ(other.timeouts, plain.timeouts) << name;
    EXPECT_EQ(spans_of(other), spans_of(plain)) << name;
  }
}

TEST(ReadD4rlFile, TimeoutsAreOptional) {
  const TrajectoryDataset dataset = read("hopper_without_timeouts");
  EXPECT_FALSE(dataset.has_timeouts);
  EXPECT_EQ(dataset.timeouts, std::vector<uint8_t>(30, 0));
  EXPECT_THAT(spans_of(dataset),
              ElementsAre(std::pair(0, 10), std::pair(10, 25), std::pair(25, 30)));
}

TEST(ReadD4rlFile, EachFamilySplitsItsOwnWay) {
  EXPECT_THAT(spans_of(read("maze2d-umaze-sparse-v1")),
              ElementsAre(std::pair(0, 12), std::pair(12, 26), std::pair(26, 40)));
  // by timeouts alone, though rows 4 to 6 are terminals
  const TrajectoryDataset ant =
      read("Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed");
  EXPECT_EQ(ant.id, "antmaze-umaze-v2");
  EXPECT_THAT(spans_of(ant), ElementsAre(std::pair(0, 10), std::pair(10, 20), std::pair(20, 30)));
  EXPECT_EQ(ant.trajectories[0].transitions(), 9);
  EXPECT_EQ(ant.trajectories[1].transitions(), 10);
  // version 0: by jumps, not by its timeouts
  EXPECT_THAT(spans_of(read("Ant_maze_big-maze_noisy_multistart_True_multigoal_False_sparse")),
              ElementsAre(std::pair(0, 10), std::pair(10, 22), std::pair(22, 30)));
  // Adroit: terminals, or timeouts without any
  EXPECT_THAT(spans_of(read("door-v0_demos_clipped")),
              ElementsAre(std::pair(0, 12), std::pair(12, 24)));
  EXPECT_THAT(spans_of(read("door-human-v1")), ElementsAre(std::pair(0, 8), std::pair(8, 24)));
}

TEST(ReadD4rlFile, RowsThatAreNotFiniteAreNamed) {
  const std::string message = error_of_fixture("broken_not_finite");
  EXPECT_THAT(message, HasSubstr("broken_not_finite.hdf5: key 'observations' row 13 holds nan"));
  EXPECT_THAT(message, HasSubstr("3 such rows"));
  EXPECT_THAT(message, HasSubstr("drop_data inspect"));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("\n")));

  const TrajectoryDataset dataset = read("broken_not_finite", {.require_finite = false});
  const NonFiniteRows all = find_non_finite_rows(dataset);
  EXPECT_EQ(all.count, 3);
  ASSERT_EQ(all.first.size(), 3U);
  EXPECT_EQ(all.first[0].key, "observations");
  EXPECT_EQ(all.first[0].row, 13);
  EXPECT_EQ(all.first[1].row, 20);
  EXPECT_EQ(all.first[1].value, INFINITY);
  EXPECT_EQ(all.first[2].key, "rewards");
  EXPECT_EQ(all.first[2].row, 4);
  EXPECT_EQ(find_non_finite_rows(dataset, 1).first.size(), 1U);
  EXPECT_EQ(find_non_finite_rows(dataset, 1).count, 3);
}

TEST(ReadD4rlFile, ErrorsNameFileKeyFoundAllowedAndCure) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"broken_no_rewards",
       {"key 'rewards' is missing", "actions, observations, reward, terminals, timeouts",
        "rename"}},
      {"broken_lengths", {"'observations' has 30 rows", "'actions' has 29"}},
      {"broken_flag", {"key 'terminals' row 3 is 2", "allowed are 0 and 1"}},
      {"broken_type", {"key 'actions' has the type int32", "float32 and float64"}},
      {"broken_rank", {"key 'observations' has the shape [30]", "[rows, width]"}},
      {"broken_reward_shape", {"key 'rewards' has the shape [30, 2]", "[rows, 1]"}},
      {"broken_soft_link", {"key 'observations'", "soft link", "inside the file"}},
      {"broken_external_storage", {"key 'observations' keeps its values in another file"}},
      {"broken_virtual", {"key 'observations' keeps its values in another file"}},
      {"broken_filter", {"key 'observations'", "lzf", "h5repack"}},
      {"broken_huge", {"key 'observations' claims the shape [1099511627776, 3]", "64.0 GiB"}},
      {"broken_hollow", {"claims the shape [268435456, 3]", "3.0 GiB", "cannot hold"}}};
  for (const auto& [name, parts] : cases) {
    const std::string message = error_of_fixture(name);
    EXPECT_THAT(message, HasSubstr(name + ".hdf5")) << name;
    EXPECT_THAT(message, ::testing::Not(HasSubstr("\n"))) << name;
    for (const std::string& part : parts) EXPECT_THAT(message, HasSubstr(part)) << name;
  }
}

// where the other file is a pipe, opening it would last for ever
TEST(ReadD4rlFile, NoOtherFileIsOpenedForAnArraysShape) {
  const testing::TemporaryFolder folder;
  const std::string file = folder.file("endless.hdf5");
  write_file_atomically(file, read_file(testing::fixture("broken_virtual_endless.hdf5")));
  ASSERT_EQ(::mkfifo(folder.file("elsewhere.hdf5").c_str(), 0600), 0);
  EXPECT_THAT(error_of(file), HasSubstr("'observations' keeps its values in another file"));
  EXPECT_THROW(inspect_d4rl_file(file), DataError);
  EXPECT_THAT(hdf5_array_names(file), ::testing::Contains("observations"));
}

// found by fuzzing: HDF5 1.10.8 never finds the end of a heap that holds an object of no size
TEST(ReadD4rlFile, AnEndlessLoopInsideHdf5Ends) {
  const testing::TemporaryFolder folder;
  const std::string file = folder.file("loop.hdf5");
  std::vector<std::byte> bytes = read_file(testing::fixture("broken_virtual_endless.hdf5"));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const size_t heap = text.find("GCOL");
  ASSERT_NE(heap, std::string_view::npos);
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(heap) + 16, 16, std::byte{0});
  write_file_atomically(file, bytes);
  EXPECT_THAT(error_of(file), HasSubstr("loop.hdf5: reading it makes the HDF5 library fail"));
}

TEST(ReadD4rlFile, FilesThatAreNoneAreRefused) {
  const testing::TemporaryFolder folder;
  EXPECT_THAT(error_of(testing::fixture("make_fixtures.py")), HasSubstr("not an HDF5 file"));
  EXPECT_THAT(error_of(folder.path().string()), HasSubstr("not a regular file"));
  write_file_atomically(folder.file("empty.hdf5"), "");
  EXPECT_THAT(error_of(folder.file("empty.hdf5")), HasSubstr("not an HDF5 file"));
  EXPECT_THROW(read_d4rl_file({folder.file("gone.hdf5"), "x", Family::kOther, ""}), DataError);
}

TEST(ReadD4rlFile, TruncatedFilesAreRefusedAtEveryLength) {
  const testing::TemporaryFolder folder;
  const std::string file = folder.file("truncated.hdf5");
  const std::vector<std::byte> whole = read_file(testing::fixture("hopper_medium-v2.hdf5"));
  for (const size_t length :
       {size_t{1}, size_t{8}, size_t{95}, size_t{96}, size_t{800}, size_t{2048}, whole.size() / 2,
        whole.size() - 2048, whole.size() - 1}) {
    write_file_atomically(file, std::span(whole).first(length));
    EXPECT_THROW(read_d4rl_file({file, "x", Family::kLocomotion, ""}), DataError) << length;
    EXPECT_THROW(inspect_d4rl_file(file), DataError) << length;
  }
}

TEST(ReadD4rlFile, ChangedBytesNeverCrash) {
  const testing::TemporaryFolder folder;
  const std::string file = folder.file("changed.hdf5");
  const std::vector<std::byte> whole = read_file(testing::fixture("hopper_medium-v2.hdf5"));
  // bytes that make HDF5 1.10.8 itself crash: a chunk's size, the size of a type
  std::vector<std::vector<std::pair<size_t, int>>> changes = {
      {{6240, 0x68}}, {{6241, 0xeb}}, {{11390, 0x75}}, {{959, 0x10}, {977, 0x43}}};
  RandomStream rng(1, "test");
  for (int change = 0; change < 60; ++change) {
    changes.push_back(
        {{rng.below(change % 2 == 0 ? whole.size() : 8192), static_cast<int>(rng.below(256))}});
  }
  int refused = 0;
  for (const auto& change : changes) {
    std::vector<std::byte> bytes = whole;
    for (const auto& [place, value] : change) bytes[place] = static_cast<std::byte>(value);
    write_file_atomically(file, bytes);
    try {
      const auto dataset =
          read_d4rl_file({file, "x", Family::kLocomotion, ""}, {.require_finite = false});
      EXPECT_EQ(static_cast<int64_t>(dataset.rewards.size()), dataset.rows);
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("changed.hdf5"));
      ++refused;
    }
  }
  EXPECT_GT(refused, 4);
}

// a few rows that differ in every value
void append_rows(D4rlWriter& writer, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    const auto t = static_cast<double>(row);
    const std::vector<double> observation = {t, t / 3.0};
    const std::vector<double> action = {std::sin(t)};
    const std::vector<double> extra = {t + 0.25, -t, t / 7.0};
    writer.append(observation, action, 0.1 * t, row % 50 == 49, row % 70 == 69, extra);
  }
}

void write_sample(const std::string& path, int64_t rows) {
  D4rlWriter writer(path, 2, 1, {{"infos/qpos", 1}, {"infos/goal", 2}}, {"infos/qpos"});
  writer.set_attribute("how", std::string("a test, é"));
  writer.set_attribute("seed", int64_t{7});
  writer.set_attribute("dt", 0.01);
  append_rows(writer, rows);
  writer.close();
}

TEST(D4rlWriter, RoundTripOverSeveralBlocks) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("maze2d-made.hdf5");
  write_sample(path, 10000);
  const TrajectoryDataset dataset = read_d4rl_file(find_dataset(path));
  EXPECT_EQ(dataset.rows, 10000);
  EXPECT_EQ(dataset.family, Family::kMaze2d);
  ASSERT_EQ(dataset.state_dim, 2);
  for (const int64_t row : {0, 1, 4095, 4096, 8191, 8192, 9999}) {
    EXPECT_EQ(dataset.observation(row)[1], static_cast<float>(static_cast<double>(row) / 3.0));
    EXPECT_EQ(dataset.action(row)[0], static_cast<float>(std::sin(static_cast<double>(row))));
    EXPECT_EQ(static_cast<float>(dataset.rewards[static_cast<size_t>(row)]),
              static_cast<float>(0.1 * static_cast<double>(row)));
  }
  EXPECT_EQ(std::count(dataset.terminals.begin(), dataset.terminals.end(), 1), 200);
  EXPECT_EQ(std::count(dataset.timeouts.begin(), dataset.timeouts.end(), 1), 142);
  const D4rlFileInfo info = inspect_d4rl_file(path);
  EXPECT_EQ(info.arrays[1].name, "infos/goal");
  EXPECT_THAT(info.arrays[1].shape, ElementsAre(10000, 2));
  EXPECT_EQ(info.arrays[2].type, "float64");
  EXPECT_EQ(info.arrays[5].type, "bool");
}

TEST(D4rlWriter, TheSameRowsMakeTheSameBytes) {
  const testing::TemporaryFolder folder;
  write_sample(folder.file("a.hdf5"), 100);
  write_sample(folder.file("b.hdf5"), 100);
  EXPECT_EQ(read_file(folder.file("a.hdf5")), read_file(folder.file("b.hdf5")));
}

TEST(D4rlWriter, PythonReadsIt) {
  const testing::TemporaryFolder folder;
  write_sample(folder.file("made.hdf5"), 5000);
  const std::string printed = run_python(
      "import sys, h5py, numpy as np\n"
      "f = h5py.File(sys.argv[1])\n"
      "for k in ['observations', 'actions', 'rewards', 'terminals', 'timeouts', 'infos/qpos']:\n"
      "    print(k, f[k].shape, f[k].dtype, f[k].compression, f[k].compression_opts)\n"
      "t = np.arange(5000)\n"
      "assert (f['observations'][:, 1] == (t / 3).astype(np.float32)).all()\n"
      "assert (f['infos/goal'][:, 0] == t + np.float32(0.25)).all()\n"
      "assert (f['infos/qpos'][:, 0] == t / 7).all()\n"
      "assert (f['terminals'][:] == (t % 50 == 49)).all()\n"
      "print(f.attrs['how'], f.attrs['seed'], f.attrs['dt'])\n",
      folder.file("made.hdf5"));
  if (printed == "skip") GTEST_SKIP() << "there is no Python under " << DROP_PYTHON;
  EXPECT_EQ(printed,
            "observations (5000, 2) float32 gzip 4\nactions (5000, 1) float32 gzip 4\n"
            "rewards (5000,) float32 gzip 4\nterminals (5000,) bool gzip 4\n"
            "timeouts (5000,) bool gzip 4\ninfos/qpos (5000, 1) float64 gzip 4\n"
            "a test, é 7 0.01\n");
}

TEST(D4rlWriter, LeavesNothingWithoutClose) {
  const testing::TemporaryFolder folder;
  {
    D4rlWriter writer(folder.file("made.hdf5"), 2, 1, {{"a", 3}});
    append_rows(writer, 5000);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(D4rlWriter, RefusesWrongUse) {
  const testing::TemporaryFolder folder;
  EXPECT_THROW(D4rlWriter("/no/such/folder/made.hdf5", 2, 1), RunError);
  EXPECT_THROW(D4rlWriter(folder.file("x.hdf5"), 0, 1), RunError);
  EXPECT_THROW(D4rlWriter(folder.file("x.hdf5"), 2, 1, {{"actions", 1}}), RunError);
  D4rlWriter writer(folder.file("made.hdf5"), 2, 1);
  const std::vector<double> two = {1, 2}, one = {1};
  EXPECT_THROW(writer.append(one, one, 0, false, false), RunError);
  EXPECT_THROW(writer.append(two, two, 0, false, false), RunError);
  EXPECT_THROW(writer.append(two, one, 0, false, false, one), RunError);
  writer.append(two, one, 0, true, false);
  writer.close();
  EXPECT_THROW(writer.append(two, one, 0, false, false), RunError);
  EXPECT_EQ(inspect_d4rl_file(folder.file("made.hdf5")).rows, 1);
}

// writes while no file of this process may grow beyond 20 kB; 0 when that was refused cleanly
[[noreturn]] void write_on_a_full_disk(const testing::TemporaryFolder& folder) {
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{20000, 20000};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  bool refused = false;
  try {
    D4rlWriter writer(folder.file("made.hdf5"), 2, 1, {{"a", 3}});
    append_rows(writer, 20000);
    writer.close();
  } catch (const RunError&) {
    refused = true;
  }
  // without coverage counts, which that limit would cut
  std::_Exit(refused && std::filesystem::is_empty(folder.path()) ? 0 : 1);
}

TEST(D4rlWriterDeathTest, AFullDiskIsARunErrorAndLeavesNothing) {
  const testing::TemporaryFolder folder;
  EXPECT_EXIT(write_on_a_full_disk(folder), ::testing::ExitedWithCode(0), "");
}

TEST(GenuineData, DoorHasTwentyFiveDemonstrations) {
  const std::string path = testing::shared_data("door-v0_demos_clipped.hdf5");
  const std::string table = testing::shared_data("d4rl_checksums.tsv");
  if (path.empty() || table.empty()) GTEST_SKIP() << "the genuine door file is not there";
  const TrajectoryDataset dataset = read_d4rl_file(find_dataset(path));
  EXPECT_EQ(dataset.id, "door-human-v0");
  EXPECT_EQ(dataset.rows, 6729);
  EXPECT_EQ(dataset.trajectories.size(), 25U);
  for (const Trajectory& demonstration : dataset.trajectories) {
    EXPECT_TRUE(demonstration.terminal && demonstration.finished);
    EXPECT_GT(demonstration.length(), 200);
  }
  EXPECT_THAT(read_text_file(table),
              HasSubstr("door-v0_demos_clipped.hdf5\t3118318\t" + dataset.sha256));
}

TEST(GenuineData, HopperStandInHasItsDocumentedReturns) {
  const std::string path = testing::shared_data("hopper_medium_replay_like.hdf5");
  if (path.empty()) GTEST_SKIP() << "the hopper stand-in is not there";
  const TrajectoryDataset dataset = read_d4rl_file(find_dataset(path));
  const std::vector<Trajectory> complete = dataset.usable_trajectories(false);
  ASSERT_EQ(complete.size(), 458U);
  EXPECT_EQ(dataset.usable_trajectories(true).size(), 459U);
  double mean = 0.0, square = 0.0, low = INFINITY, high = -INFINITY;
  for (const Trajectory& trajectory : complete) mean += trajectory.return_sum / 458.0;
  for (const Trajectory& trajectory : complete) {
    square += std::pow(trajectory.return_sum - mean, 2) / 458.0;
    low = std::min(low, trajectory.return_sum);
    high = std::max(high, trajectory.return_sum);
  }
  EXPECT_NEAR(mean, 1395.7, 0.05);
  EXPECT_NEAR(std::sqrt(square), 959.0, 0.05);
  EXPECT_NEAR(low, 5.5, 0.05);
  EXPECT_NEAR(high, 3281.2, 0.05);
}

}  // namespace
}  // namespace drop
