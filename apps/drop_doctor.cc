// drop_doctor: what this build and this machine are, whether they compute correctly, and what slows
// them down or puts a run at risk.

#include <mujoco/mujoco.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/machine_check.h"
#include "drop/base/system_report.h"
#include "drop/base/text.h"
#include "drop/env/environment.h"
#include "drop/nn/runtime.h"
#include "drop/nn/self_check.h"
#include "program.h"

namespace drop {
namespace {

struct DoctorOptions {
  std::string device = "auto";
  std::string folder = ".";
  CommonOptions common;
};

void print(const std::string& name, const std::string& value) {
  std::printf("%-12s %s\n", name.c_str(), value.c_str());
}

void print(const Report& report) {
  for (const auto& [name, value] : report) print(name, value);
}

// what a crash would leave to look at
std::string core_dumps() {
  rlimit limit{};
  const bool on = ::getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur > 0;
  return on ? "on" : "off (to look into a crash: ulimit -c unlimited)";
}

std::vector<Finding> all_findings(const Runtime& runtime, const std::string& folder) {
  std::vector<Finding> findings = settings_findings();
  const auto add = [&](const auto& more) {
    findings.insert(findings.end(), more.begin(), more.end());
  };
  add(machine_findings());
  add(folder_findings(folder));
  const int driver = driver_cuda_version();
  // a CPU build on a machine without a GPU lacks nothing
  if (driver > 0 || build_cuda_version() > 0) {
    if (auto finding = driver_finding(driver, build_cuda_version())) findings.push_back(*finding);
  }
  if (!denormals_are_flushed()) {
    findings.push_back({"some threads compute with denormals, which is many times slower",
                        "start the program anew without libraries that change the processor's "
                        "mode (LD_PRELOAD)"});
  }
  const double speed = product_speed();
  print("products", shortest(static_cast<int>(speed / 1e9)) + " GFLOP/s on one thread");
  if (auto finding = product_finding(speed, cpu_megahertz())) findings.push_back(*finding);
  const char* threads = std::getenv("OMP_NUM_THREADS");
  if (threads != nullptr && std::to_string(runtime.threads) != threads) {
    findings.push_back({std::string("OMP_NUM_THREADS=") + threads + " is not looked at",
                        "set `threads` in the config"});
  }
  return findings;
}

void run(const DoctorOptions& options) {
  if (!std::filesystem::is_directory(options.folder))
    throw UsageError("--folder: " + options.folder + " is no folder; give one that is there");
  // what does not depend on the device comes first: the device may be refused
  Report report = build_report();
  report.emplace_back("mujoco", mj_versionString());
  print(report);
  print(machine_report());
  print("core dumps", core_dumps());
  const Runtime runtime = configure_runtime(device_from(options.device), Precision::kAuto, 0);
  print(runtime_report(runtime));
  print("tasks", join(EnvironmentRegistry::instance().names()));

  const SelfCheck check = run_self_check(runtime.device);
  std::printf("%-12s forward off by %.1e, gradient by %.1e: %s\n", "self-check", check.forward,
              check.gradient, check.passed ? "good" : "WRONG");
  for (const auto& [what, cure] : all_findings(runtime, options.folder))
    print("warning", what + "; cure: " + cure);
  if (!check.passed) {
    throw RunError(
        "the arithmetic on this machine is wrong; set LibTorch up again (remove .venv, run "
        "scripts/setup.sh), "
        "then look at the processor and its memory");
  }
}

}  // namespace
}  // namespace drop

int main(int argc, char** argv) {
  drop::DoctorOptions options;
  CLI::App app(
      "Versions, libraries, threads, device, precision, a small forward/backward self-check, and "
      "what slows runs down or puts them at risk, each with its cure.",
      "drop_doctor");
  app.add_option("--device", options.device, "auto, cpu or cuda")->capture_default_str();
  app.add_option("--folder", options.folder,
                 "Where runs are to be written: its file system is tried")
      ->capture_default_str();
  drop::add_common_options(app, options.common);
  app.footer("Example:\n  drop_doctor --device cpu --folder .");
  return drop::run_program(app, argc, argv, options.common, [&] { drop::run(options); });
}
