#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/log/metrics.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Scalar {
  std::string tag;
  int64_t step = 0;
  double value = 0;

  bool operator==(const Scalar& other) const {
    const bool both_nan = std::isnan(value) && std::isnan(other.value);
    return tag == other.tag && step == other.step && (both_nan || value == other.value);
  }
};

void PrintTo(const Scalar& scalar, std::ostream* stream) {
  *stream << scalar.tag << " " << scalar.step << " " << scalar.value;
}

bool python_has_tensorboard() {
  static const bool has = [] {
    const std::string python = DROP_PYTHON;
    if (!std::filesystem::exists(python)) return false;
    return std::system(
               ("'" + python + "' -c 'import numpy, tensorboard' > /dev/null 2>&1").c_str()) == 0;
  }();
  return has;
}

// what TensorBoard's own Python package reads
std::vector<Scalar> read_with_tensorboard(const std::filesystem::path& folder) {
  const std::string command = std::string("'") + DROP_PYTHON + "' '" + DROP_SOURCE_DIR +
                              "/tests/log/read_events.py' '" + folder.string() + "' 2>/dev/null";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  std::string output;
  std::array<char, 4096> chunk;
  while (const size_t got = std::fread(chunk.data(), 1, chunk.size(), pipe)) {
    output.append(chunk.data(), got);
  }
  const int status = ::pclose(pipe);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << command;
  std::vector<Scalar> scalars;
  std::istringstream lines(output);
  std::string value;
  for (Scalar scalar;
       lines >> scalar.step >> value && std::getline(lines >> std::ws, scalar.tag);) {
    scalar.value = std::strtod(value.c_str(), nullptr);
    scalars.push_back(scalar);
  }
  return scalars;
}

std::vector<std::filesystem::path> event_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

class TensorboardSink : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!python_has_tensorboard()) {
      GTEST_SKIP() << "no tensorboard package in " << DROP_PYTHON
                   << "; ./scripts/setup.sh installs it";
    }
  }

  testing::TemporaryFolder folder_;
};

TEST_F(TensorboardSink, TensorboardReadsWhatWasWritten) {
  auto sink = make_tensorboard_sink(folder_.path(), 0);
  const double infinity = std::numeric_limits<double>::infinity();
  const std::string long_tag(1000, 'x');
  sink->write(0, 0, {{"a/zero", 0.0}, {"b", -1.5}});
  sink->write(1, 0.5, {});
  sink->write(100, 1, {{"b", 0.1}});
  sink->write(10'000'000'000, 2, {{"b", infinity}, {"c \xc3\xbc", std::nan("")}});
  sink->write(10'000'000'001, 2, {{long_tag, 1}});
  sink->flush();
  const auto files = event_files(folder_.path());
  ASSERT_EQ(files.size(), 1u);
  EXPECT_THAT(files[0].filename().string(), ::testing::StartsWith("events.out.tfevents."));
  EXPECT_THAT(read_with_tensorboard(folder_.path()),
              ElementsAre(Scalar{"a/zero", 0, 0.0}, Scalar{"b", 0, -1.5}, Scalar{"b", 100, 0.1f},
                          Scalar{"b", 10'000'000'000, infinity},
                          Scalar{"c \xc3\xbc", 10'000'000'000, std::nan("")},
                          Scalar{long_tag, 10'000'000'001, 1}));
}

TEST_F(TensorboardSink, AResumedRunReplacesWhatLayBeyondItsCheckpoint) {
  {
    auto sink = make_tensorboard_sink(folder_.path(), 0);
    for (int64_t step = 100; step <= 500; step += 100) sink->write(step, 0, {{"v", 1}});
  }
  // twice at once, as after two quick failures: names must still sort in the order of sessions
  for (const double value : {2.0, 3.0}) {
    auto sink = make_tensorboard_sink(folder_.path(), 300);
    sink->write(400, 0, {{"v", value}});
  }
  EXPECT_EQ(event_files(folder_.path()).size(), 3u);
  EXPECT_THAT(read_with_tensorboard(folder_.path()),
              ElementsAre(Scalar{"v", 100, 1}, Scalar{"v", 200, 1}, Scalar{"v", 300, 1},
                          Scalar{"v", 400, 3}));
}

TEST_F(TensorboardSink, ASessionThatDiedInTheMiddleOfARecordHidesNothingElse) {
  { make_tensorboard_sink(folder_.path(), 0)->write(100, 0, {{"v", 1}, {"w", 1}}); }
  {
    auto sink = make_tensorboard_sink(folder_.path(), 100);
    sink->write(200, 0, {{"v", 2}});
    sink->write(300, 0, {{"v", 2}});
  }
  const auto torn = event_files(folder_.path()).back();
  std::filesystem::resize_file(torn, std::filesystem::file_size(torn) - 5);
  { make_tensorboard_sink(folder_.path(), 200)->write(300, 0, {{"v", 3}}); }
  EXPECT_THAT(read_with_tensorboard(folder_.path()),
              ElementsAre(Scalar{"v", 100, 1}, Scalar{"v", 200, 2}, Scalar{"v", 300, 3},
                          Scalar{"w", 100, 1}));
}

// the comparison above is worth something only if TensorBoard checks the framing
TEST_F(TensorboardSink, TensorboardRefusesAFlippedBit) {
  { make_tensorboard_sink(folder_.path(), 0)->write(100, 0, {{"v", 1}}); }
  const auto file = event_files(folder_.path()).front();
  std::string bytes = read_text_file(file);
  for (const size_t from_end : {1u, 6u}) {  // the checksum of the data, and the data
    std::string damaged = bytes;
    damaged[damaged.size() - from_end] ^= 1;
    write_file_atomically(file, std::string_view(damaged));
    EXPECT_THAT(read_with_tensorboard(folder_.path()), IsEmpty());
  }
  write_file_atomically(file, std::string_view(bytes));
  EXPECT_THAT(read_with_tensorboard(folder_.path()), ElementsAre(Scalar{"v", 100, 1}));
}

TEST(TensorboardSinkFiles, FlushMakesRecordsVisible) {
  testing::TemporaryFolder folder;
  auto sink = make_tensorboard_sink(folder.path(), 0);
  const auto file = event_files(folder.path()).front();
  const auto before = std::filesystem::file_size(file);
  sink->write(1, 0, {{"v", 1}});
  sink->flush();
  EXPECT_GT(std::filesystem::file_size(file), before);
}

TEST(TensorboardSinkFiles, AMissingFolderIsARunError) {
  testing::TemporaryFolder folder;
  EXPECT_THROW(make_tensorboard_sink(folder.path() / "missing", 0), RunError);
}

}  // namespace
}  // namespace drop
