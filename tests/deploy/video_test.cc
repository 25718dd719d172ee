#include "drop/deploy/video.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/text.h"
#include "drop/deploy/evaluation.h"
#include "env/gl_context.h"
#include "support/models.h"
#include "support/paths.h"
#include "support/process.h"

namespace drop {
namespace {

using ::testing::HasSubstr;

// a program's full path, empty when it is not there
std::string on_path(const std::string& program) {
  const char* const path = std::getenv("PATH");
  for (const std::string& folder : split(path == nullptr ? "" : path, ':')) {
    if (std::filesystem::exists(folder + "/" + program)) return folder + "/" + program;
  }
  return "";
}

// another PATH while this object lives
class Path {
 public:
  explicit Path(const std::string& folders) : before_(std::getenv("PATH")) {
    ::setenv("PATH", folders.c_str(), 1);
  }
  ~Path() { ::setenv("PATH", before_.c_str(), 1); }
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

 private:
  std::string before_;
};

// "width,height,pictures a second,pictures"; empty without ffprobe
std::string probe(const std::string& video) {
  const std::string program = on_path("ffprobe");
  if (program.empty()) return "";
  const testing::ProcessResult result = testing::run_process(
      {program, "-v", "error", "-count_frames", "-show_entries",
       "stream=width,height,r_frame_rate,nb_read_frames", "-of", "csv=p=0", video});
  EXPECT_EQ(result.status, 0) << result.err;
  return result.out;
}

int files_in(const testing::TemporaryFolder& folder) {
  const std::filesystem::directory_iterator files(folder.path());
  return static_cast<int>(std::distance(begin(files), end(files)));
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const RunError& error) {
    return error.what();
  }
  return "no RunError";
}

void write_frames(const std::string& path, int count, int width = 64, int height = 48) {
  VideoWriter writer(path, width, height, 25.0);
  std::vector<uint8_t> frame(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  for (int i = 0; i < count; ++i) {
    std::fill(frame.begin(), frame.end(), static_cast<uint8_t>(20 * i));
    writer.write(frame);
  }
  writer.close();
}

class VideoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (on_path("ffmpeg").empty()) GTEST_SKIP() << "no program ffmpeg on PATH";
  }
  testing::TemporaryFolder folder_;
};

TEST_F(VideoTest, WritesFilms) {
  for (const std::string name : {"a.mp4", "-b %03d:c.mkv", "d.gif"}) {
    write_frames(folder_.file(name), 10);
    ASSERT_GT(std::filesystem::file_size(folder_.file(name)), 500u) << name;
    EXPECT_THAT(probe(folder_.file(name)), ::testing::StartsWith("64,48,25/1,10")) << name;
  }
  EXPECT_EQ(files_in(folder_), 3);
  // an older film is replaced
  write_frames(folder_.file("a.mp4"), 5);
  EXPECT_THAT(probe(folder_.file("a.mp4")), ::testing::StartsWith("64,48,25/1,5"));
}

TEST_F(VideoTest, AnUnfinishedFilmLeavesNothing) {
  {
    VideoWriter writer(folder_.file("a.mp4"), 64, 48, 25.0);
    writer.write(std::vector<uint8_t>(64 * 48 * 3));
    EXPECT_THROW(writer.write(std::vector<uint8_t>(5)), RunError);
  }
  EXPECT_EQ(files_in(folder_), 0);
}

TEST_F(VideoTest, SaysWhatFfmpegDislikes) {
  const std::string unknown = folder_.file("film.nonsense");
  const std::string message = message_of([&] { write_frames(unknown, 3, 640, 480); });
  EXPECT_THAT(message, HasSubstr(unknown + ": ffmpeg made no video of it ("));
  EXPECT_THAT(message, HasSubstr(".mp4 is the usual one"));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("\n")));
  EXPECT_THAT(message, ::testing::Not(HasSubstr(".tmp.")));
  EXPECT_THAT(message_of([&] { write_frames(folder_.file("none/film.mp4"), 3); }),
              HasSubstr("No such file or directory"));
  EXPECT_EQ(files_in(folder_), 0);
}

TEST(VideoWriter, SaysThatFfmpegIsMissing) {
  const testing::TemporaryFolder folder;
  for (const std::string& path : {std::string(), folder.path().string()}) {
    const Path none(path);
    const std::string message = message_of([&] { VideoRecorder(folder.file("a.mp4"), {}); });
    EXPECT_THAT(message, HasSubstr("no program ffmpeg on PATH"));
    EXPECT_THAT(message, HasSubstr("apt-get install ffmpeg"));
    EXPECT_THAT(message_of([&] { write_frames(folder.file("a.mp4"), 1); }),
                HasSubstr("apt-get install ffmpeg"));
  }
  EXPECT_EQ(files_in(folder), 0);
}

TEST(VideoWriter, SurvivesAnFfmpegThatDies) {
  // at once, and after its first bytes; no SIGPIPE ends this process
  const testing::TemporaryFolder tools;
  const testing::TemporaryFolder folder;
  const std::string program = tools.file("ffmpeg");
  for (const std::string script : {"echo 'disk is full' >&2; exit 1",
                                   "head -c 100 >/dev/null; echo 'disk is full' >&2; exit 1",
                                   "cat >/dev/null; echo 'disk is full' >&2; exit 1"}) {
    std::ofstream(program) << "#!/bin/sh\nPATH=/usr/bin:/bin\n" << script << "\n";
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    const Path path(tools.path());
    EXPECT_THAT(message_of([&] { write_frames(folder.file("a.mp4"), 5, 640, 480); }),
                HasSubstr("(disk is full)"))
        << script;
  }
  // ended by a signal, without a word
  std::ofstream(program) << "#!/bin/sh\nkill -9 $$\n";
  const Path path(tools.path());
  EXPECT_THAT(message_of([&] { write_frames(folder.file("a.mp4"), 1); }),
              HasSubstr("it said nothing"));
  EXPECT_EQ(files_in(folder), 0);
}

TEST(VideoWriter, RefusesOddSizes) {
  EXPECT_THROW(VideoWriter("a.mp4", 63, 48, 25.0), UsageError);
  EXPECT_THROW(VideoRecorder("a.mp4", {.width = 640, .height = 0}), UsageError);
}

TEST(VideoPath, PutsTheRuleBeforeTheEnding) {
  EXPECT_EQ(video_path("out.mp4", "best-ada"), "out-best-ada.mp4");
  EXPECT_EQ(video_path("a.b/out", "grad"), "a.b/out-grad");
}

class VideoRecorderTest : public VideoTest {
 protected:
  void SetUp() override {
    VideoTest::SetUp();
    if (IsSkipped()) return;
    try {
      make_gl_context();
    } catch (const RunError& error) {
      GTEST_SKIP() << error.what();
    }
  }

  // an untrained hopper that soon falls
  static EvaluationResult evaluate_hopper(EvaluationObserver* observer) {
    EvaluationOptions options;
    options.episodes = 3;
    options.search.ascent_steps = 2;
    options.environment.dataset_id = "hopper-medium-v2";
    if (observer != nullptr) options.observers.push_back(observer);
    return evaluate(testing::untrained("hopper", "hopper-medium-v2", 11, 3), options);
  }
};

TEST_F(VideoRecorderTest, FilmsAnEvaluationAndChangesNothing) {
  VideoOptions options;
  options.width = 128;
  options.height = 96;
  options.episodes = 2;
  VideoRecorder video(folder_.file("a.mp4"), options);
  const EvaluationResult filmed = evaluate_hopper(&video);
  EXPECT_EQ(files_in(folder_), 1);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("a.mp4")));
  video.close();
  const EvaluationResult alone = evaluate_hopper(nullptr);
  ASSERT_EQ(filmed.episodes.size(), alone.episodes.size());
  for (size_t i = 0; i < alone.episodes.size(); ++i) {
    EXPECT_EQ(filmed.episodes[i].episode_return, alone.episodes[i].episode_return);
    EXPECT_EQ(filmed.episodes[i].length, alone.episodes[i].length);
  }
  // every third step of 8 ms, the start and the end
  const int64_t longest = std::max(alone.episodes[0].length, alone.episodes[1].length);
  const std::string expected = "128,96,125/3," + std::to_string(1 + longest / 3 + 1);
  EXPECT_THAT(probe(folder_.file("a.mp4")), ::testing::StartsWith(expected));
}

TEST_F(VideoRecorderTest, KeepsToItsLength) {
  VideoOptions options;
  options.width = 64;
  options.height = 64;
  options.max_seconds = 0.1;
  VideoRecorder video(folder_.file("a.mp4"), options);
  EXPECT_THAT(message_of([&] { video.close(); }), HasSubstr("no evaluation was filmed"));
  evaluate_hopper(&video);
  video.close();
  EXPECT_THAT(probe(folder_.file("a.mp4")), ::testing::StartsWith("64,64,125/3,4"));
}

}  // namespace
}  // namespace drop
