#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace drop {

/// Options that every program has.
struct CommonOptions {
  bool quiet = false;
  std::string log_level = "info";
};

/// Adds --quiet, --log-level and --version.
void add_common_options(CLI::App& app, CommonOptions& common);

/// Parses the command line, sets logging up, runs `body` and turns whatever happens into the
/// documented exit status and one line on standard error ("drop_train: error: ...").
int run_program(CLI::App& app, int argc, char** argv, CommonOptions& common,
                const std::function<void()>& body);

}  // namespace drop
