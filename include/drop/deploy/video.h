#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "drop/deploy/evaluation_observer.h"

namespace drop {

/// A film made by the program ffmpeg, which is looked for on PATH and fed through a pipe. The file
/// gets its name when it is complete: an error, or an end without `close`, leaves nothing behind.
class VideoWriter {
 public:
  /// Starts ffmpeg. Throws RunError when there is none.
  /// @param path  its ending tells the format: .mp4, .mkv, .webm, .gif ...
  /// @param width,height  pixels, even
  VideoWriter(const std::string& path, int width, int height, double frames_per_second);
  ~VideoWriter();
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;

  /// @param rgb  [height, width, 3], top row first
  /// Throws RunError with ffmpeg's own words when it has given up.
  void write(std::span<const uint8_t> rgb);

  /// Waits for ffmpeg and names the file; RunError as in `write`.
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct VideoOptions {
  int width = 640;             ///< pixels of the whole picture, even
  int height = 480;            ///< likewise
  int64_t episodes = 1;        ///< the first so many, side by side in a grid
  double max_seconds = 120.0;  ///< what comes later is left out
};

/// Films an evaluation in real time (at most 50 pictures a second). Each episode's picture says its
/// step and return; an episode that has ended stands still.
///
///     VideoRecorder video("out.mp4", options);   // throws when ffmpeg is missing
///     evaluation.observers.push_back(&video);   // its start throws when nothing can draw
///     evaluate(trained, evaluation);
///     video.close();                             // the file is there
///
/// One object for each evaluation: with several rules, give each its own file.
class VideoRecorder final : public EvaluationObserver {
 public:
  VideoRecorder(std::string path, const VideoOptions& options);
  ~VideoRecorder() override;

  void on_start(const VectorEnvironment& environments) override;
  void on_step(const EvaluationStep& step, const VectorEnvironment& environments) override;
  /// Completes the file. Throws RunError when ffmpeg failed.
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// "out.mp4", "best-ada" -> "out-best-ada.mp4": the name of one of several films.
std::string video_path(const std::string& path, const std::string& rule);

}  // namespace drop
