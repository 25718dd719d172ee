#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "drop/env/environment.h"

namespace drop {

/// Draws a MuJoCo task without a window: locomotion from the side, mazes whole from above with
/// their goal, a hand over its table. Reads states only, so drawing never disturbs the physics.
/// Belongs to one thread.
///
/// OpenGL comes through EGL or OSMesa, whichever works first; the environment variable DROP_GL (egl
/// or osmesa) decides instead. RunError when neither works, and for a task without MuJoCo.
class Renderer {
 public:
  /// @param environment  of the task to be drawn
  /// @param width,height  pixels, 16 to 4096
  Renderer(const Environment& environment, int width, int height);
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  /// Draws the present state of any environment of this task.
  /// @param rgb      [height, width, 3], top row first, written
  /// @param caption  text at the top left; may be empty
  void render(const Environment& environment, std::span<uint8_t> rgb,
              const std::string& caption = "");

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace drop
