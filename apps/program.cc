#include "program.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
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

// A descriptor that is closed at the start would become the next file that is opened, and results
// or messages would go into that. One that takes no bytes stands in its place.
void hold_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) < 0) static_cast<void>(open("/dev/null", O_RDONLY));
  }
}

// results that nobody received are no success
void require_output_written() {
  errno = 0;
  std::cout.flush();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout) {
    const std::string reason = errno != 0 ? std::string(" (") + std::strerror(errno) + ")" : "";
    throw RunError("standard output: the results could not be written" + reason +
                   "; send them elsewhere (files named by options are written)");
  }
}

// What the parser lets pass: an empty text (a variable that is not set), "nan" as a number within
// any range, 010 as octal 8
void require_plain_values(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    const bool real = type.starts_with("FLOAT");
    const bool whole = type.starts_with("INT") || type.starts_with("UINT");
    for (const std::string& text : option->results()) {
      const auto refuse = [&](const std::string& allowed) {
        throw UsageError(option->get_name() + ": found " + (text.empty() ? "nothing" : text) +
                         "; allowed: " + allowed + "; give it a value or leave it away");
      };
      if (text.empty()) refuse("a value");
      if (real && !std::isfinite(std::strtod(text.c_str(), nullptr))) refuse("a finite number");
      const size_t digits = text.find_first_not_of("+-");
      const bool led_by_zero =
          digits != std::string::npos && text[digits] == '0' && digits + 1 < text.size();
      if (whole && led_by_zero) refuse("decimal digits without a leading 0");
    }
  }
  for (const CLI::App* subcommand : app.get_subcommands()) require_plain_values(*subcommand);
}

// runs `work`; the exit status of what happens, and its line on standard error
int guarded(const std::string& program, const std::function<void()>& work) {
  try {
    work();
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
  } catch (const std::filesystem::filesystem_error& error) {
    return report(program, error.path1().string() + ": " + error.code().message(),
                  ExitStatus::kFailed);
  } catch (const std::exception& error) {
    return report(program, error.what(), ExitStatus::kFailed);
  }
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
  hold_standard_descriptors();
  keep_idle_threads_from_spinning(argv);
  // a file that may grow no more (ulimit -f) is an error like a full disk, not a sudden death
  std::signal(SIGXFSZ, SIG_IGN);
  // who read our messages may be gone (`| head`, a `tee` that died): no reason to lose a training
  std::signal(SIGPIPE, SIG_IGN);
  // whoever started us may have ignored the end of children: we want to know it
  std::signal(SIGCHLD, SIG_DFL);
  const std::string program = app.get_name();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    app.exit(help);  // --help and --version
    return guarded(program, require_output_written);
  } catch (const CLI::ParseError& error) {
    return report(program, std::string(error.what()) + " (see " + program + " --help)",
                  ExitStatus::kUsage);
  }
  return guarded(program, [&] {
    require_plain_values(app);
    configure_logging(common.log_level, common.quiet);
    body();
    require_output_written();
  });
}

}  // namespace drop
