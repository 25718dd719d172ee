#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace drop {

/// The project's logger (spdlog): plain lines on standard error, coloured on a terminal.
/// Use as `log().info("...", ...)` with <spdlog/spdlog.h> included in the source file.
spdlog::logger& log();

/// @param level  trace|debug|info|warn|error|off; UsageError otherwise. `quiet` leaves errors only
///               on standard error; log files still get every line of the level.
void configure_logging(const std::string& level, bool quiet);

/// Copies every log line from now on to a file as well (a run's train.log, appended). Throws
/// RunError when it cannot be written.
void add_log_file(const std::filesystem::path& file);

/// Ends what `add_log_file` began, e.g. before the next seed's run in the same process.
void remove_log_file(const std::filesystem::path& file);

}  // namespace drop
