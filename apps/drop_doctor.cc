// drop_doctor: what this build and this machine are, and whether they compute correctly.

#include <mujoco/mujoco.h>

#include <cstdio>

#include "drop/base/error.h"
#include "drop/base/system_report.h"
#include "drop/base/text.h"
#include "drop/env/environment.h"
#include "drop/nn/runtime.h"
#include "drop/nn/self_check.h"
#include "program.h"

namespace drop {
namespace {

void run(const std::string& device) {
  const Runtime runtime = configure_runtime(device_from(device), Precision::kAuto, 0);
  Report report = build_report();
  report.emplace_back("mujoco", mj_versionString());
  for (const Report& more : {machine_report(), runtime_report(runtime)})
    report.insert(report.end(), more.begin(), more.end());
  report.emplace_back("tasks", join(EnvironmentRegistry::instance().names()));
  for (const auto& [name, value] : report) std::printf("%-12s %s\n", name.c_str(), value.c_str());

  const SelfCheck check = run_self_check(runtime.device);
  std::printf("%-12s forward off by %.1e, gradient by %.1e: %s\n", "self-check", check.forward,
              check.gradient, check.passed ? "good" : "WRONG");
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
  std::string device = "auto";
  drop::CommonOptions common;
  CLI::App app(
      "Versions, libraries, threads, device, precision, and a small forward/backward self-check.",
      "drop_doctor");
  app.add_option("--device", device, "auto, cpu or cuda")->capture_default_str();
  drop::add_common_options(app, common);
  app.footer("Example:\n  drop_doctor --device cpu");
  return drop::run_program(app, argc, argv, common, [&] { drop::run(device); });
}
