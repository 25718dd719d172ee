#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "drop/data/d4rl_checksums.h"
#include "drop/data/dataset_id.h"

namespace drop {

/// D4RL's own place (D4RL facts, section 5.4).
inline constexpr const char* kD4rlBaseUrl = "http://rail.eecs.berkeley.edu/datasets/offline_rl/";

/// Where to fetch a D4RL data set from: D4RL's path of the id below `base_url`, which is an http,
/// https or file URL, or a local folder (there the bare file name is found as well, so that
/// another data set folder is a mirror). Throws UsageError for an unknown id and for another kind
/// of URL, DataError for a local mirror without the file.
std::string dataset_url(const std::string& id, const std::string& base_url);

struct DownloadOptions {
  std::string base_url = kD4rlBaseUrl;
  std::filesystem::path folder = dataset_folder();  ///< made when it is missing
  /// What the file must be; without it, what is known of a file of this name. Zero and empty fields
  /// are not compared.
  std::optional<FileIdentity> expected;
  bool allow_other_upload = false;       ///< takes a readable file that differs from it as well
  int64_t max_bytes = int64_t{8} << 30;  ///< limit for a file of unknown size
  double stall_timeout_s = 30.0;         ///< gives up when nothing arrives for so long
  bool quiet = false;                    ///< no progress bar
};

struct Download {
  FileCheck check;  ///< of the file under its final name
  bool already_there = false;
  int64_t resumed_at = 0;  ///< bytes that an earlier try had left
};

/// Fetches a D4RL file, unless the right one is there already. It grows as `NAME.part` and gets its
/// final name, in one step, only when its size, its SHA-256 (where known) and its layout are right;
/// until then an older file of that name stands. A part is kept when the connection fails, with
/// what the server said about it in `NAME.part.json`, and the next call asks for the rest; it
/// starts afresh when the server's file has changed or the server cannot resume. Redirects are
/// followed on the same host only.
///
/// Throws RunError when the transfer fails (connection, status, stall, disk full), DataError for a
/// wrong file, UsageError when another process is fetching it, Interrupted after `stop_requested`.
/// Safe to call from several threads.
Download download_dataset(const std::string& id, const DownloadOptions& options = {});

}  // namespace drop
