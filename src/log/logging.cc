#include "drop/log/logging.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/text.h"

namespace drop {

namespace {

constexpr char kLevelFlag = '*';

// "[warning] " and the like; nothing for plain information
class LevelFlag : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& line) override {
    if (message.level == spdlog::level::info) return;
    const auto name = spdlog::level::to_string_view(message.level);
    const std::string_view left = "[";
    const std::string_view right = "] ";
    line.append(left.data(), left.data() + left.size());
    line.append(name.data(), name.data() + name.size());
    line.append(right.data(), right.data() + right.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<LevelFlag>();
  }
};

std::unique_ptr<spdlog::formatter> make_formatter(const std::string& pattern) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<LevelFlag>(kLevelFlag).set_pattern(pattern);
  return formatter;
}

// the one logger with its two kinds of sinks
class Logging {
 public:
  static Logging& instance() {
    static Logging logging;
    return logging;
  }

  spdlog::logger& logger() { return logger_; }

  void configure(spdlog::level::level_enum level, bool quiet) {
    logger_.set_level(level);
    // files keep what the terminal is spared
    terminal_->set_level(quiet ? spdlog::level::err : spdlog::level::trace);
  }

  void add_file(const std::filesystem::path& path) {
    const std::lock_guard lock(mutex_);
    if (files_.contains(path.string())) return;
    std::shared_ptr<spdlog::sinks::sink> file;
    try {
      file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    } catch (const spdlog::spdlog_ex& error) {
      throw RunError(path.string() + ": the log cannot be written (" + error.what() + ")");
    }
    file->set_formatter(make_formatter("%Y-%m-%d %H:%M:%S.%e %*%v"));
    sinks_->add_sink(file);
    files_[path.string()] = std::move(file);
  }

  void remove_file(const std::filesystem::path& path) {
    const std::lock_guard lock(mutex_);
    const auto found = files_.find(path.string());
    if (found == files_.end()) return;
    sinks_->remove_sink(found->second);
    files_.erase(found);
  }

 private:
  Logging()
      : terminal_(std::make_shared<spdlog::sinks::stderr_color_sink_mt>()),
        sinks_(std::make_shared<spdlog::sinks::dist_sink_mt>()),
        logger_("drop", sinks_) {
    // on a terminal a line first wipes the progress bar that may stand there
    const std::string wipe = ::isatty(STDERR_FILENO) != 0 ? "\r\033[K" : "";
    terminal_->set_formatter(make_formatter(wipe + "%H:%M:%S %^%*%$%v"));
    sinks_->add_sink(terminal_);
    logger_.set_level(spdlog::level::info);
    // every line is in the file before the process can die of what comes next
    logger_.flush_on(spdlog::level::trace);
    // a log that cannot be written (a full disk) is said once; what matters reports its own errors
    logger_.set_error_handler([](const std::string& problem) {
      static std::atomic<bool> told{false};
      if (!told.exchange(true))
        std::fprintf(stderr, "[error] the log cannot be written: %s\n", problem.c_str());
    });
  }

  std::shared_ptr<spdlog::sinks::sink> terminal_;
  std::shared_ptr<spdlog::sinks::dist_sink_mt> sinks_;
  spdlog::logger logger_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<spdlog::sinks::sink>> files_;
};

}  // namespace

spdlog::logger& log() { return Logging::instance().logger(); }

void configure_logging(const std::string& level, bool quiet) {
  static const std::map<std::string, spdlog::level::level_enum> levels = {
      {"trace", spdlog::level::trace}, {"debug", spdlog::level::debug},
      {"info", spdlog::level::info},   {"warn", spdlog::level::warn},
      {"error", spdlog::level::err},   {"off", spdlog::level::off}};
  const auto found = levels.find(level);
  if (found == levels.end()) {
    const std::vector<std::string> names = {"trace", "debug", "info", "warn", "error", "off"};
    const std::string nearest = nearest_name(level, names);
    throw UsageError("log level: found '" + level + "'; allowed: " + join(names) + "; " +
                     (nearest.empty() ? "choose one of them" : "did you mean " + nearest + "?"));
  }
  Logging::instance().configure(found->second, quiet);
}

void add_log_file(const std::filesystem::path& file) { Logging::instance().add_file(file); }

void remove_log_file(const std::filesystem::path& file) { Logging::instance().remove_file(file); }

}  // namespace drop
