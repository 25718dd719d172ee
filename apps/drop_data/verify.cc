#include <filesystem>
#include <memory>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/data/d4rl_checksums.h"
#include "drop_data/commands.h"

namespace drop {

namespace {

struct VerifyOptions {
  std::vector<std::string> files;
  bool allow_other_upload = false;
  std::string json;
};

// as given, where there is no such file
std::string path_of(const std::string& file) {
  try {
    return find_dataset(file).path;
  } catch (const DataError&) {
    return file;
  }
}

FileCheck check(const std::string& file) {
  try {
    const std::string path = find_dataset(file).path;
    return check_d4rl_file(path, known_identity(std::filesystem::path(path).filename().string()));
  } catch (const DataError& error) {
    FileCheck missing;
    missing.path = file;
    missing.problem = error.what();
    return missing;
  }
}

void verify(const VerifyOptions& options) {
  std::vector<std::filesystem::path> inputs;
  for (const std::string& file : options.files) inputs.push_back(path_of(file));
  require_output(options.json, inputs);
  std::vector<FileCheck> checks;
  std::string text;
  size_t bad = 0;
  for (const std::string& file : options.files) {
    checks.push_back(check(file));
    text += to_text(checks.back()) + "\n";
    const FileVerdict verdict = checks.back().verdict;
    if (verdict == FileVerdict::kUnreadable) ++bad;
    if (verdict == FileVerdict::kDiffers && !options.allow_other_upload) ++bad;
  }
  print_results(text, to_json(checks), options.json);
  if (bad > 0) {
    throw DataError(std::to_string(bad) + " of " + std::to_string(checks.size()) +
                    " files differ from what is known or cannot be read; fetch them again with "
                    "drop_data download, or allow readable ones with --allow-other-upload");
  }
}

}  // namespace

Command add_verify(CLI::App& app) {
  const auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = app.add_subcommand(
      "verify", "compare size and SHA-256 of D4RL files with the known ones, by file name");
  command->add_option("FILE", options->files, "paths of HDF5 files, or D4RL ids")->required();
  command->add_flag("--allow-other-upload", options->allow_other_upload,
                    "a readable file of another size or hash is no failure");
  add_json_option(*command, options->json);
  command->footer("Example: drop_data verify hopper-medium-v2 ~/data/*.hdf5");
  return {command, [options] { verify(*options); }};
}

}  // namespace drop
