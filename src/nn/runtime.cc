#include "drop/nn/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <dlfcn.h>
#include <spdlog/spdlog.h>
#include <torch/headeronly/version.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "drop/base/error.h"
#include "drop/log/logging.h"
#include "kernels/dense_backend.h"
#include "kernels/peak.h"

namespace drop {

namespace {

// a variable that changes how fast libraries compute
struct Setting {
  const char* name;
  const char* value;  // the one that does harm; empty = any
  const char* effect;
};

constexpr Setting kSettings[] = {
    {"ATEN_CPU_CAPABILITY", "", "limits LibTorch's vector code"},
    {"MKL_DEBUG_CPU_TYPE", "", "makes MKL take this CPU for another"},
    {"MKL_ENABLE_INSTRUCTIONS", "", "limits MKL's vector code"},
    {"MKL_CBWR", "", "holds MKL to code that is equal everywhere, and slower"},
    {"ONEDNN_MAX_CPU_ISA", "", "limits oneDNN's vector code"},
    {"DNNL_MAX_CPU_ISA", "", "limits oneDNN's vector code"},
    {"OMP_THREAD_LIMIT", "", "caps the threads at that, whatever `threads` says"},
    {"OMP_PROC_BIND", "true", "ties threads to cores, those of every run to the same ones"},
    {"OMP_PROC_BIND", "close", "ties threads to cores, those of every run to the same ones"},
    {"OMP_PROC_BIND", "spread", "ties threads to cores, those of every run to the same ones"},
    {"GOMP_CPU_AFFINITY", "", "ties threads to cores, those of every run to the same ones"},
    {"OMP_WAIT_POLICY", "active", "lets idle threads spin, which stops small networks"},
    {"GOMP_SPINCOUNT", "infinite", "lets idle threads spin, which stops small networks"},
    {"GOMP_SPINCOUNT", "infinity", "lets idle threads spin, which stops small networks"},
};

std::string cuda_text(int version) {
  return "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

bool cpu_has_avx2() { return __builtin_cpu_supports("avx2") != 0; }

}  // namespace

FullPrecision::FullPrecision() : allowed_(at::globalContext().allowTF32CuBLAS()) {
  at::globalContext().setAllowTF32CuBLAS(false);
}

FullPrecision::~FullPrecision() { at::globalContext().setAllowTF32CuBLAS(allowed_); }

bool cuda_available() {
#ifdef DROP_WITH_CUDA
  return at::hasCUDA();
#else
  return false;
#endif
}

Runtime configure_runtime(Device device, Precision precision, int64_t threads) {
  Runtime runtime;
  // device
  const bool could_have_cuda =
      device == Device::kCuda || (device == Device::kAuto && build_cuda_version() > 0);
  if (could_have_cuda && !cuda_available()) {
    const std::optional<Finding> driver =
        driver_finding(driver_cuda_version(), build_cuda_version());
    if (device == Device::kCuda) {
      throw UsageError(
          "device: found cuda, but " + (driver ? driver->what : "no NVIDIA GPU is to be seen") +
          "; allowed here: auto, cpu; " +
          (driver ? driver->cure : "look at CUDA_VISIBLE_DEVICES, or use a machine that has one"));
    }
    if (driver) log().warn("device: auto is the CPU: {}. Cure: {}", driver->what, driver->cure);
  }
  if (device != Device::kCpu && cuda_available()) runtime.device = at::Device(at::kCUDA, 0);

  // precision
  const bool on_cpu = runtime.device.is_cpu();
  runtime.precision = precision;
  if (precision == Precision::kAuto)
    runtime.precision = on_cpu ? Precision::kFp32 : Precision::kTf32;
  if (runtime.precision == Precision::kBf16 && on_cpu && !cpu_has_bf16()) {
    throw UsageError(
        "precision: found bf16, but this CPU has neither AMX nor AVX512-BF16; allowed here: auto, "
        "fp32; set precision: auto");
  }
  if (runtime.precision == Precision::kTf32 && !runtime.device.is_cuda()) {
    throw UsageError(
        "precision: found tf32 on a CPU; allowed there: auto, fp32; set precision: auto");
  }
  at::globalContext().setAllowTF32CuBLAS(runtime.precision == Precision::kTf32);

  // threads, once for the whole process
  if (threads > permitted_cores()) {
    throw UsageError("threads: found " + std::to_string(threads) + "; allowed: 0 (all) to " +
                     std::to_string(permitted_cores()) + ", the cores this process may use");
  }
  runtime.threads = threads > 0 ? static_cast<int>(threads) : available_cores();
  at::set_num_threads(runtime.threads);
  // threads that start later take it over from the one that starts them; those that run are told
  at::parallel_for(0, runtime.threads, 1,
                   [](int64_t, int64_t) { at::globalContext().setFlushDenormal(true); });
  std::vector<Finding> findings = settings_findings();
  if (auto finding = threads_finding(runtime.threads, cpu_quota())) findings.push_back(*finding);
  for (const Finding& finding : findings) log().warn("{}. Cure: {}", finding.what, finding.cure);
  return runtime;
}

Report runtime_report(const Runtime& runtime) {
  return {{"libtorch", TORCH_VERSION},
          {"blas", at::hasMKL() ? "MKL" : "not MKL"},
          {"vector code", at::get_cpu_capability()},
          {"cpu bf16", cpu_has_bf16() ? "yes" : "no"},
          {"device", runtime.device.str()},
          {"precision", to_string(runtime.precision)},
          {"threads", std::to_string(runtime.threads)}};
}

std::vector<Finding> settings_findings() {
  std::vector<Finding> findings;
  for (const Setting& setting : kSettings) {
    const char* value = std::getenv(setting.name);
    if (value == nullptr || *value == '\0') continue;
    if (*setting.value != '\0' && lower(value) != setting.value) continue;
    findings.push_back({std::string(setting.name) + "=" + value + " " + setting.effect,
                        std::string("unset ") + setting.name});
  }
  const std::string capability = at::get_cpu_capability();
  if (!cpu_has_avx2()) {
    findings.push_back(
        {"this CPU has no AVX2: LibTorch and its BLAS take code that is several times "
         "slower",
         "use another machine, or give a virtual one its host's CPU (-cpu host)"});
  } else if ((capability == "DEFAULT" || capability == "NO AVX") &&
             std::getenv("ATEN_CPU_CAPABILITY") == nullptr) {
    findings.push_back({"LibTorch does not know this CPU: it takes its plainest vector code",
                        "remove .venv and run ./scripts/setup.sh"});
  }
  if (!at::hasMKL()) {
    findings.push_back({"this LibTorch has no MKL: its products may be slow",
                        "use the pinned wheel (./scripts/setup.sh)"});
  }
  return findings;
}

std::optional<Finding> driver_finding(int driver, int build) {
  if (build == 0 && driver == 0) {
    return Finding{"this build has no CUDA and this machine no NVIDIA driver",
                   "for a GPU run ./scripts/setup.sh --cuda and build the preset `cuda`"};
  }
  if (build == 0) {
    return Finding{"this build has no CUDA; the NVIDIA driver here knows " + cuda_text(driver),
                   "for the GPU run ./scripts/setup.sh --cuda and build the preset `cuda`"};
  }
  if (driver == 0) {
    return Finding{
        "this machine has no NVIDIA driver (libcuda.so.1), this build is for " + cuda_text(build),
        "install the driver, or use device: cpu"};
  }
  // within a major version older drivers run newer builds
  if (driver / 1000 < build / 1000) {
    return Finding{
        "the NVIDIA driver knows " + cuda_text(driver) + ", this build is for " + cuda_text(build),
        "install a driver for " + cuda_text(build) + " or newer, or use device: cpu"};
  }
  return std::nullopt;
}

int driver_cuda_version() {
  // the driver's own library, which is not linked; never unloaded, as it may have started threads
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return 0;
  using GetVersion = int (*)(int*);
  const auto get_version = reinterpret_cast<GetVersion>(::dlsym(library, "cuDriverGetVersion"));
  int version = 0;
  return get_version != nullptr && get_version(&version) == 0 ? version : 0;
}

int build_cuda_version() {
#ifdef DROP_WITH_CUDA
  return static_cast<int>(at::Context::versionCUDART());
#else
  return 0;
#endif
}

bool denormals_are_flushed() {
  std::atomic<bool> flushed = true;
  const int64_t threads = at::get_num_threads();
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    volatile float tiny = 2e-38F;  // normal; a thousandth of it is not
    if (tiny * 1e-3F != 0.0F) flushed = false;
  });
  return flushed;
}

double product_speed() {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const double speed = peak_flops(at::kCPU, Precision::kFp32);
  at::set_num_threads(threads);
  return speed;
}

std::optional<Finding> product_finding(double per_second, double megahertz) {
  // AVX2 does 32 operations in a cycle, code for the oldest CPUs at most 8; a core that is shared
  // with another thread does half
  constexpr double kFewPerCycle = 11.0;
  const double per_cycle = megahertz > 0.0 ? per_second / (megahertz * 1e6) : kFewPerCycle;
  if (!cpu_has_avx2() || per_cycle >= kFewPerCycle) return std::nullopt;
  char text[120];
  std::snprintf(text, sizeof text,
                "matrix products reach %.1f operations in a cycle, where AVX2 has 32: the BLAS may "
                "not know this CPU",
                per_cycle);
  return Finding{
      text,
      "unset MKL's variables and look whether the machine is busy, else use a CPU that MKL "
      "knows (Intel's, or AMD's since Zen)"};
}

}  // namespace drop
