#pragma once

#include <memory>

namespace drop {

/// An OpenGL context without a window, for MuJoCo's renderer. The libraries are looked for at run
/// time. All contexts of a process come from the same library, since MuJoCo looks its functions up
/// once.
class GlContext {
 public:
  virtual ~GlContext() = default;
  /// Makes this the calling thread's context. A context belongs to the thread that first did so.
  virtual void make_current() = 0;
};

/// Tries EGL (a GPU's driver, or Mesa), then OSMesa (software). The environment variable DROP_GL,
/// egl or osmesa, leaves no choice. Throws RunError that names what was tried and the cure,
/// UsageError for another value of DROP_GL.
std::unique_ptr<GlContext> make_gl_context();

}  // namespace drop
