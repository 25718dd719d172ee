#include "env/gl_context.h"

#include <dlfcn.h>
#define EGL_NO_X11
#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <GL/osmesa.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "drop/base/error.h"

namespace drop {

namespace {

// why one of the two ways does not work; becomes a part of the user's error
struct Unavailable {
  std::string reason;
};

// a system library that stays loaded; its functions are looked up by name
class Library {
 public:
  explicit Library(const char* name) : name_(name), handle_(::dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw Unavailable{std::string("no ") + name};
  }

  template <typename Function>
  Function* find(const char* function) const {
    void* const found = ::dlsym(handle_, function);
    if (found == nullptr) throw Unavailable{std::string(name_) + " has no " + function};
    return reinterpret_cast<Function*>(found);
  }

  // MuJoCo looks for eglGetProcAddress or OSMesaGetProcAddress among the process's own symbols:
  // only the library that is used may show its own
  void show_to_mujoco() const { ::dlopen(name_, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD); }

 private:
  const char* name_;
  void* handle_;
};

struct Egl {
  const Library library{"libEGL.so.1"};
  const decltype(&eglGetProcAddress) get_proc_address =
      library.find<decltype(eglGetProcAddress)>("eglGetProcAddress");
  const decltype(&eglInitialize) initialize =
      library.find<decltype(eglInitialize)>("eglInitialize");
  const decltype(&eglChooseConfig) choose_config =
      library.find<decltype(eglChooseConfig)>("eglChooseConfig");
  const decltype(&eglBindAPI) bind_api = library.find<decltype(eglBindAPI)>("eglBindAPI");
  const decltype(&eglCreateContext) create_context =
      library.find<decltype(eglCreateContext)>("eglCreateContext");
  const decltype(&eglMakeCurrent) make_current =
      library.find<decltype(eglMakeCurrent)>("eglMakeCurrent");
  const decltype(&eglDestroyContext) destroy_context =
      library.find<decltype(eglDestroyContext)>("eglDestroyContext");
};

class EglContext final : public GlContext {
 public:
  EglContext() {
    for (EGLDisplay display : displays()) {
      if (open(display)) {
        egl_.library.show_to_mujoco();
        return;
      }
    }
    throw Unavailable{"libEGL.so.1 has no device or driver that draws without a screen"};
  }

  // the display is shared by all contexts of the process and stays
  ~EglContext() override {
    egl_.make_current(display_, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT);
    egl_.destroy_context(display_, context_);
  }

  void make_current() override {
    if (!egl_.make_current(display_, EGL_NO_SURFACE, EGL_NO_SURFACE, context_)) {
      throw RunError("EGL cannot make its context current; draw in one thread only");
    }
  }

 private:
  // every device, then Mesa without any
  std::vector<EGLDisplay> displays() const {
    const auto get_display = reinterpret_cast<PFNEGLGETPLATFORMDISPLAYEXTPROC>(
        egl_.get_proc_address("eglGetPlatformDisplayEXT"));
    const auto query_devices =
        reinterpret_cast<PFNEGLQUERYDEVICESEXTPROC>(egl_.get_proc_address("eglQueryDevicesEXT"));
    if (get_display == nullptr) return {};
    std::vector<EGLDisplay> found;
    std::vector<EGLDeviceEXT> devices(16);
    EGLint count = 0;
    if (query_devices == nullptr ||
        !query_devices(static_cast<EGLint>(devices.size()), devices.data(), &count)) {
      count = 0;
    }
    devices.resize(static_cast<size_t>(count));
    for (EGLDeviceEXT device : devices) {
      found.push_back(get_display(EGL_PLATFORM_DEVICE_EXT, device, nullptr));
    }
    found.push_back(get_display(EGL_PLATFORM_SURFACELESS_MESA, EGL_DEFAULT_DISPLAY, nullptr));
    return found;
  }

  bool open(EGLDisplay display) {
    if (display == EGL_NO_DISPLAY || !egl_.initialize(display, nullptr, nullptr)) return false;
    constexpr EGLint kAttributes[] = {EGL_SURFACE_TYPE,
                                      EGL_PBUFFER_BIT,
                                      EGL_RENDERABLE_TYPE,
                                      EGL_OPENGL_BIT,
                                      EGL_RED_SIZE,
                                      8,
                                      EGL_GREEN_SIZE,
                                      8,
                                      EGL_BLUE_SIZE,
                                      8,
                                      EGL_NONE};
    EGLConfig config = nullptr;
    EGLint count = 0;
    if (!egl_.choose_config(display, kAttributes, &config, 1, &count) || count == 0) return false;
    if (!egl_.bind_api(EGL_OPENGL_API)) return false;
    EGLContext context = egl_.create_context(display, config, EGL_NO_CONTEXT, nullptr);
    if (context == EGL_NO_CONTEXT) return false;
    if (!egl_.make_current(display, EGL_NO_SURFACE, EGL_NO_SURFACE, context)) {
      egl_.destroy_context(display, context);
      return false;
    }
    display_ = display;
    context_ = context;
    return true;
  }

  Egl egl_;
  EGLDisplay display_ = EGL_NO_DISPLAY;
  EGLContext context_ = EGL_NO_CONTEXT;
};

struct OsMesa {
  const Library library{"libOSMesa.so.8"};
  const decltype(&OSMesaCreateContextExt) create_context =
      library.find<decltype(OSMesaCreateContextExt)>("OSMesaCreateContextExt");
  const decltype(&OSMesaMakeCurrent) make_current =
      library.find<decltype(OSMesaMakeCurrent)>("OSMesaMakeCurrent");
  const decltype(&OSMesaDestroyContext) destroy_context =
      library.find<decltype(OSMesaDestroyContext)>("OSMesaDestroyContext");
};

class OsMesaContext final : public GlContext {
 public:
  OsMesaContext() : context_(mesa_.create_context(OSMESA_RGBA, 24, 8, 0, nullptr)) {
    if (context_ == nullptr) throw Unavailable{"libOSMesa.so.8 makes no context"};
    mesa_.library.show_to_mujoco();
  }
  ~OsMesaContext() override { mesa_.destroy_context(context_); }

  // the window's buffer is never drawn on: MuJoCo has an off-screen one of its own
  void make_current() override {
    if (!mesa_.make_current(context_, window_, GL_UNSIGNED_BYTE, kSide, kSide)) {
      throw RunError("OSMesa cannot make its context current; draw in one thread only");
    }
  }

 private:
  static constexpr int kSide = 8;
  OsMesa mesa_;
  ::OSMesaContext context_;
  unsigned char window_[4 * kSide * kSide] = {};
};

enum class GlKind { kEgl, kOsMesa };

std::unique_ptr<GlContext> make(GlKind kind) {
  if (kind == GlKind::kEgl) return std::make_unique<EglContext>();
  return std::make_unique<OsMesaContext>();
}

// the kinds that DROP_GL allows
std::vector<GlKind> allowed_kinds() {
  const char* const text = std::getenv("DROP_GL");
  const std::string asked = text == nullptr ? "" : text;
  if (asked.empty()) return {GlKind::kEgl, GlKind::kOsMesa};
  if (asked == "egl") return {GlKind::kEgl};
  if (asked == "osmesa") return {GlKind::kOsMesa};
  throw UsageError("environment variable DROP_GL: found \"" + asked +
                   "\", allowed: egl, osmesa; unset it to try both");
}

// found out by making a context, once
GlKind choose_kind() {
  std::string tried;
  for (const GlKind kind : allowed_kinds()) {
    try {
      make(kind);
      return kind;
    } catch (const Unavailable& failure) {
      tried += (tried.empty() ? "" : "; ") +
               std::string(kind == GlKind::kEgl ? "EGL: " : "OSMesa: ") + failure.reason;
    }
  }
  throw RunError("nothing here can draw without a screen (" + tried +
                 "); install one: apt-get install libosmesa6 (software), or libegl1 and the GPU's "
                 "driver" +
                 (std::getenv("DROP_GL") != nullptr ? ", or unset DROP_GL" : ""));
}

}  // namespace

std::unique_ptr<GlContext> make_gl_context() {
  static const GlKind kind = choose_kind();
  try {
    return make(kind);
  } catch (const Unavailable& failure) {
    throw RunError("OpenGL worked before but gives no further context: " + failure.reason);
  }
}

}  // namespace drop
