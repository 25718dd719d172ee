#include "drop/data/download.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <memory>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/signals.h"
#include "drop/base/text.h"
#include "drop/log/logging.h"
#include "drop_data/commands.h"

namespace drop {

namespace {

struct DownloadCommand {
  std::vector<std::string> ids;
  bool list = false;
  std::string folder = dataset_folder().string();
  std::string sha256;
  DownloadOptions options;
  std::string json;
};

std::string list_of_datasets() {
  std::string text =
      "id                              size       hash     path below the base URL\n";
  for (const std::string& id : known_dataset_ids()) {
    const FileIdentity known = known_identity(file_name_of_dataset_id(id));
    char line[200];
    std::snprintf(line, sizeof line, "%-31s %-10s %-8s %s\n", id.c_str(),
                  known.bytes > 0 ? human_bytes(static_cast<double>(known.bytes)).c_str() : "?",
                  known.sha256.empty() ? "unknown" : "known", url_path_of_dataset_id(id).c_str());
    text += line;
  }
  return text;
}

std::string checked_sha256(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  if (text.size() != 64 || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw UsageError("--sha256 '" + text + "': allowed are 64 hexadecimal digits");
  }
  return text;
}

void download(DownloadCommand command) {
  if (command.list) {
    print_results(list_of_datasets(), "", "");
    return;
  }
  if (command.ids.empty()) {
    throw UsageError("no data set is named; give a D4RL id such as hopper-medium-v2, or --list");
  }
  command.options.folder = command.folder;
  if (!command.sha256.empty()) {
    if (command.ids.size() > 1) {
      throw UsageError("--sha256 is the hash of one file, but " +
                       std::to_string(command.ids.size()) + " ids are given; give them one by one");
    }
    command.options.expected = FileIdentity{0, checked_sha256(command.sha256)};
  }

  // what cannot be done is said before anything is fetched
  for (const std::string& id : command.ids) dataset_url(id, command.options.base_url);
  if (!command.json.empty() && command.json != "-") require_writable(command.json);

  install_stop_handlers();
  std::vector<FileCheck> checks;
  std::string text;
  for (const std::string& id : command.ids) {
    const Download result = download_dataset(id, command.options);
    log().info("{}: {}", id, result.already_there ? "is there already" : "downloaded");
    if (result.check.verdict == FileVerdict::kUnknown) {
      log().warn("{}: no hash of this file is known; keep the one below, --sha256 checks it", id);
    } else if (result.check.verdict == FileVerdict::kDiffers) {
      log().warn("{}: this is not the known upload; keep the hash below", id);
    }
    checks.push_back(result.check);
    text += to_text(result.check) + "\n";
  }
  print_results(text, to_json(checks), command.json);
}

}  // namespace

Command add_download(CLI::App& app, const CommonOptions& common) {
  const auto options = std::make_shared<DownloadCommand>();
  CLI::App* command = app.add_subcommand(
      "download", "fetch D4RL files: checked before they get their name, resumed when cut off");
  command->add_option("ID", options->ids, "D4RL ids, e.g. hopper-medium-v2");
  CLI::Option* list = command->add_flag("--list", options->list,
                                        "print the known ids, sizes and paths; fetch nothing");
  command->add_option("--dir", options->folder, "folder for the files ($D4RL_DATASET_DIR)")
      ->capture_default_str();
  command
      ->add_option("--base-url", options->options.base_url,
                   "server or mirror: http://, https://, file:// or a local folder")
      ->envname("D4RL_BASE_URL")
      ->capture_default_str();
  CLI::Option* sha256 =
      command->add_option("--sha256", options->sha256,
                          "hash that the file must have, instead of the known size and hash");
  command
      ->add_flag("--allow-other-upload", options->options.allow_other_upload,
                 "take a readable file of another size or hash than the known one")
      ->excludes(sha256);
  command
      ->add_option("--max-bytes", options->options.max_bytes,
                   "largest file of unknown size, e.g. 8GiB")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command
      ->add_option("--timeout", options->options.stall_timeout_s,
                   "give up when nothing arrives for so many seconds")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_json_option(*command, options->json);
  list->excludes(command->get_option("--json"));
  command->footer("Example: drop_data download hopper-medium-v2 hopper-medium-replay-v2");
  return {command, [options, &common] {
            options->options.quiet = common.quiet;
            download(*options);
          }};
}

}  // namespace drop
