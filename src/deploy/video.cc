#include "drop/deploy/video.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/text.h"
#include "drop/env/renderer.h"

namespace drop {

namespace {

// the program's full path
std::string find_ffmpeg() {
  const char* const path = std::getenv("PATH");
  for (const std::string& folder : split(path == nullptr ? "" : path, ':')) {
    std::string program = folder + "/ffmpeg";
    if (::access(program.c_str(), X_OK) == 0) return program;
  }
  throw RunError("no program ffmpeg on PATH, which a video needs; apt-get install ffmpeg");
}

void require_even(int width, int height) {
  if (width > 0 && height > 0 && width % 2 == 0 && height % 2 == 0) return;
  throw UsageError("a video of " + std::to_string(width) + " x " + std::to_string(height) +
                   " pixels cannot be made; both must be even");
}

// a descriptor that closes itself
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }
  void close() {
    if (value_ >= 0) ::close(value_);
    value_ = -1;
  }

 private:
  int value_;
};

}  // namespace

// ---- VideoWriter -------------------------------------------------------------------------------

struct VideoWriter::Impl {
  std::filesystem::path path;
  std::filesystem::path temporary;  // with the same ending, by which ffmpeg knows the format
  size_t frame_bytes;
  int input = -1;  // a socket: unlike a pipe it can be written to without a SIGPIPE
  Descriptor errors;
  pid_t process = -1;

  Impl(const std::string& name, int width, int height, double frames_per_second);
  ~Impl();
  void start(const std::vector<std::string>& arguments);
  bool wait();
  [[noreturn]] void fail();
};

VideoWriter::Impl::Impl(const std::string& name, int width, int height, double frames_per_second)
    : path(name),
      temporary(path.parent_path() / (path.stem().string() + ".tmp." + std::to_string(::getpid()) +
                                      path.extension().string())),
      frame_bytes(static_cast<size_t>(width) * static_cast<size_t>(height) * 3),
      errors(::memfd_create("ffmpeg", MFD_CLOEXEC)) {
  // "file:" keeps ffmpeg from taking a name for an option or an address
  std::vector<std::string> arguments = {find_ffmpeg(),
                                        "-nostdin",
                                        "-hide_banner",
                                        "-loglevel",
                                        "error",
                                        "-xerror",
                                        "-y",
                                        "-f",
                                        "rawvideo",
                                        "-pixel_format",
                                        "rgb24",
                                        "-video_size",
                                        std::to_string(width) + "x" + std::to_string(height),
                                        "-framerate",
                                        shortest(frames_per_second),
                                        "-i",
                                        "pipe:0"};
  // what every player can show, from its first byte on
  if (path.extension() == ".mp4") {
    arguments.insert(arguments.end(), {"-pix_fmt", "yuv420p", "-movflags", "+faststart"});
  }
  arguments.push_back("file:" + temporary.string());
  start(arguments);
}

void VideoWriter::Impl::start(const std::vector<std::string>& arguments) {
  int ends[2];
  if (errors.get() < 0 || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw RunError(path.string() + ": ffmpeg cannot be started (" + std::strerror(errno) + ")");
  }
  const Descriptor child_input(ends[0]);
  input = ends[1];

  std::vector<char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, child_input.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files, errors.get(), STDERR_FILENO);
  // a process group of its own: Ctrl-C is for this program, which then ends ffmpeg
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  const int error =
      ::posix_spawn(&process, pointers[0], &files, &attributes, pointers.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  if (error != 0) {
    process = -1;
    ::close(input);
    throw RunError(arguments[0] + ": cannot be started (" + std::strerror(error) +
                   "); check this installation of ffmpeg");
  }
}

VideoWriter::Impl::~Impl() {
  // without `close` the film is not wanted
  if (process > 0) ::kill(process, SIGKILL);
  wait();
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);
}

// true when ffmpeg has ended well
bool VideoWriter::Impl::wait() {
  if (input >= 0) ::close(input);
  input = -1;
  if (process < 0) return false;
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  process = -1;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void VideoWriter::Impl::fail() {
  if (process > 0) wait();
  std::string words(2000, '\0');
  const ssize_t got = ::pread(errors.get(), words.data(), words.size(), 0);
  words.resize(got > 0 ? static_cast<size_t>(got) : 0);
  std::string line = join(split(words, '\n'), "; ");
  const std::string unfinished = temporary.string();
  for (size_t at = line.find(unfinished); at != std::string::npos; at = line.find(unfinished)) {
    line.replace(at, unfinished.size(), path.string());
  }
  throw RunError(path.string() + ": ffmpeg made no video of it (" +
                 (line.empty() ? "it said nothing" : line) +
                 "); check the folder, free space and the ending (.mp4 is the usual one)");
}

VideoWriter::VideoWriter(const std::string& path, int width, int height, double frames_per_second) {
  require_even(width, height);
  impl_ = std::make_unique<Impl>(path, width, height, frames_per_second);
}

VideoWriter::~VideoWriter() = default;

void VideoWriter::write(std::span<const uint8_t> rgb) {
  if (rgb.size() != impl_->frame_bytes) {
    throw RunError(impl_->path.string() + ": a picture of this video has " +
                   std::to_string(impl_->frame_bytes) + " bytes, not " +
                   std::to_string(rgb.size()));
  }
  while (!rgb.empty()) {
    const ssize_t sent = ::send(impl_->input, rgb.data(), rgb.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) impl_->fail();
    rgb = rgb.subspan(static_cast<size_t>(sent));
  }
}

void VideoWriter::close() {
  if (!impl_->wait()) impl_->fail();
  std::error_code error;
  std::filesystem::rename(impl_->temporary, impl_->path, error);
  if (error) {
    throw RunError(impl_->path.string() + ": cannot be written (" + error.message() + ")");
  }
}

// ---- VideoRecorder -----------------------------------------------------------------------------

struct VideoRecorder::Impl {
  std::string path;
  VideoOptions options;
  std::optional<VideoWriter> writer;
  std::unique_ptr<Renderer> renderer;
  std::vector<double> returns;  // of the episodes shown
  int columns = 1;
  int tile_width = 0;
  int tile_height = 0;
  int64_t stride = 1;  // steps from picture to picture
  int64_t frames_left = 0;
  std::vector<uint8_t> tile;
  std::vector<uint8_t> frame;

  void draw(size_t episode, const Environment& environment, int64_t steps);
  void write_frame();
};

VideoRecorder::VideoRecorder(std::string path, const VideoOptions& options)
    : impl_(std::make_unique<Impl>()) {
  require_even(options.width, options.height);
  find_ffmpeg();
  impl_->path = output_path(path).string();
  impl_->options = options;
}

VideoRecorder::~VideoRecorder() = default;

void VideoRecorder::on_start(const VectorEnvironment& environments) {
  Impl& impl = *impl_;
  // a grid as square as can be
  const int64_t shown = std::clamp<int64_t>(impl.options.episodes, 1, environments.size());
  impl.returns.assign(static_cast<size_t>(shown), 0.0);
  impl.columns = static_cast<int>(std::ceil(std::sqrt(static_cast<double>(shown))));
  const int rows = (static_cast<int>(shown) + impl.columns - 1) / impl.columns;
  impl.tile_width = impl.options.width / impl.columns;
  impl.tile_height = impl.options.height / rows;
  impl.renderer = std::make_unique<Renderer>(environments[0], impl.tile_width, impl.tile_height);
  const auto bytes = [](int width, int height) {
    return static_cast<size_t>(width) * static_cast<size_t>(height) * 3;
  };
  impl.tile.resize(bytes(impl.tile_width, impl.tile_height));
  impl.frame.assign(bytes(impl.options.width, impl.options.height), 0);

  // real time, leaving steps out where they are shorter than a picture
  constexpr double kMostFrames = 50.0;
  const double dt = environments.info().dt;
  impl.stride = std::max<int64_t>(1, std::llround(std::ceil(1.0 / (kMostFrames * dt) - 1e-9)));
  const double frames_per_second = 1.0 / (static_cast<double>(impl.stride) * dt);
  impl.frames_left = std::llround(impl.options.max_seconds * frames_per_second);
  impl.writer.emplace(impl.path, impl.options.width, impl.options.height, frames_per_second);
  for (size_t i = 0; i < impl.returns.size(); ++i) {
    impl.draw(i, environments[static_cast<int64_t>(i)], 0);
  }
  impl.write_frame();
}

void VideoRecorder::on_step(const EvaluationStep& step, const VectorEnvironment& environments) {
  Impl& impl = *impl_;
  // the last state of an episode is always drawn: it stays
  const int64_t steps = step.step + 1;
  const bool due = steps % impl.stride == 0;
  bool running = false;
  for (size_t k = 0; k < step.episodes.size(); ++k) {
    const auto episode = static_cast<size_t>(step.episodes[k]);
    if (episode >= impl.returns.size()) continue;
    running = true;
    impl.returns[episode] += step.results[k].reward;
    const bool over = step.results[k].terminated || step.results[k].truncated;
    if (impl.frames_left > 0 && (due || over)) {
      impl.draw(episode, environments[step.episodes[k]], steps);
    }
  }
  if (running && due) impl.write_frame();
}

void VideoRecorder::close() {
  if (!impl_->writer) throw RunError(impl_->path + ": no evaluation was filmed");
  impl_->write_frame();  // the last states, where no picture was due
  impl_->writer->close();
}

// one episode into its place of the grid
void VideoRecorder::Impl::draw(size_t episode, const Environment& environment, int64_t steps) {
  char caption[80];
  std::snprintf(caption, sizeof caption, "step %lld   return %.1f", static_cast<long long>(steps),
                returns[episode]);
  renderer->render(environment, tile, caption);
  const size_t tile_row = static_cast<size_t>(tile_width) * 3;
  const size_t frame_row = static_cast<size_t>(options.width) * 3;
  const size_t left = episode % static_cast<size_t>(columns) * tile_row;
  const size_t top = episode / static_cast<size_t>(columns) * static_cast<size_t>(tile_height);
  for (size_t row = 0; row < static_cast<size_t>(tile_height); ++row) {
    std::copy_n(tile.begin() + static_cast<std::ptrdiff_t>(row * tile_row), tile_row,
                frame.begin() + static_cast<std::ptrdiff_t>((top + row) * frame_row + left));
  }
}

void VideoRecorder::Impl::write_frame() {
  if (frames_left <= 0) return;
  --frames_left;
  writer->write(frame);
}

std::string video_path(const std::string& path, const std::string& rule) {
  const std::filesystem::path whole(path);
  return (whole.parent_path() / (whole.stem().string() + "-" + rule + whole.extension().string()))
      .string();
}

}  // namespace drop
