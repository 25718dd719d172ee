#include "drop_data/commands.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <iostream>
#include <limits>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/text.h"
#include "drop/log/logging.h"

namespace drop {

void print_results(const std::string& text, const std::string& json, const std::string& target) {
  if (target == "-") {
    std::cout << json << std::flush;
    return;
  }
  std::cout << text << std::flush;
  if (!target.empty()) write_file_atomically(target, json);
}

D4rlFileInfo announce(const DatasetSource& source) {
  D4rlFileInfo info = inspect_d4rl_file(source.path);
  log().info("reading {}: {} rows, about {} of memory", source.path, info.rows,
             human_bytes(static_cast<double>(info.memory_bytes)));
  return info;
}

void require_new_file(const std::string& path, bool force) {
  std::error_code ignored;
  if (force || !std::filesystem::exists(path, ignored)) return;
  throw UsageError("--out " + path +
                   ": this file exists; choose another name or allow --force to replace it");
}

CLI::Range count_range() { return CLI::Range(int64_t{1}, int64_t{1000000000}); }

CLI::Range seed_range() { return CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()); }

void add_json_option(CLI::App& command, std::string& json) {
  command.add_option("--json", json, "also write the result as JSON to this file, or - for stdout")
      ->type_name("FILE");
}

}  // namespace drop
