#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "drop/data/d4rl_file.h"
#include "drop/data/dataset_id.h"
#include "program.h"

namespace drop {

/// A subcommand of drop_data; `run` is called when the command line has been parsed and names it.
struct Command {
  CLI::App* app = nullptr;
  std::function<void()> run;
};

// one file each
Command add_inspect(CLI::App& app);
Command add_decompose(CLI::App& app);
Command add_download(CLI::App& app, const CommonOptions& common);
Command add_verify(CLI::App& app);
Command add_generate(CLI::App& app, const CommonOptions& common);
Command add_replay(CLI::App& app, const CommonOptions& common);

// what several of them share

/// Results for people and for programs; with `--json -` the latter alone on standard output.
void print_results(const std::string& text, const std::string& json, const std::string& target);
void add_json_option(CLI::App& command, std::string& json);

/// Says what reading the file will cost.
D4rlFileInfo announce(const DatasetSource& source);

/// Refuses to replace a file without --force.
void require_new_file(const std::string& path, bool force);

CLI::Range count_range();
CLI::Range seed_range();

}  // namespace drop
