#include "program.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

#include "drop/base/error.h"
#include "drop/base/system_report.h"
#include "drop/log/logging.h"

namespace drop {

namespace {

int report(const std::string& program, const std::string& message, ExitStatus status) {
  // one line, whatever a library may have put into its message
  std::string line = message.substr(0, message.find('\n'));
  const char* kind = status == ExitStatus::kInterrupted ? "" : "error: ";
  std::fprintf(stderr, "%s: %s%s\n", program.c_str(), kind, line.c_str());
  return static_cast<int>(status);
}

// Idle OpenMP threads spin for milliseconds by default, which slows small networks down many times
// as soon as anything else runs on the machine. libgomp reads its settings when it is loaded,
// before main: so they are set, and the program starts over once. A user's own settings stand.
void keep_idle_threads_from_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "2000", 1);
  execv("/proc/self/exe", argv);  // comes back only where that is not possible
}

}  // namespace

void add_common_options(CLI::App& app, CommonOptions& common) {
  app.set_version_flag("--version", "drop " + project_version(), "Print the version and exit");
  app.add_flag("--quiet", common.quiet, "No progress, no information: only results and errors");
  app.add_option("--log-level", common.log_level, "trace, debug, info, warn, error or off")
      ->capture_default_str();
}

int run_program(CLI::App& app, int argc, char** argv, CommonOptions& common,
                const std::function<void()>& body) {
  keep_idle_threads_from_spinning(argv);
  // a file that may grow no more (ulimit -f) is an error like a full disk, not a sudden death
  std::signal(SIGXFSZ, SIG_IGN);
  // whoever started us may have ignored the end of children: we want to know it
  std::signal(SIGCHLD, SIG_DFL);
  const std::string program = app.get_name();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);  // --help and --version
  } catch (const CLI::ParseError& error) {
    return report(program, std::string(error.what()) + " (see " + program + " --help)",
                  ExitStatus::kUsage);
  }
  try {
    configure_logging(common.log_level, common.quiet);
    body();
    std::fflush(stdout);
    return static_cast<int>(ExitStatus::kDone);
  } catch (const Error& error) {
    return report(program, error.what(), error.status());
  } catch (const c10::Error& error) {
    return report(program, std::string("LibTorch: ") + error.what_without_backtrace(),
                  ExitStatus::kFailed);
  } catch (const std::bad_alloc&) {
    return report(program,
                  "out of memory; lower train.batch_size, model.hidden_width or --episodes",
                  ExitStatus::kFailed);
  } catch (const std::exception& error) {
    return report(program, error.what(), ExitStatus::kFailed);
  }
}

}  // namespace drop
