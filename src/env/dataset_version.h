#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace drop {

/// Version of a D4RL id that belongs to `task`: ("maze2d-umaze", "maze2d-umaze-v0") -> "v0"; empty
/// when the id does not begin with the task's name or ends in no version.
inline std::string dataset_version(std::string_view task, std::string_view dataset_id) {
  if (!dataset_id.starts_with(task)) return "";
  const size_t dash = dataset_id.rfind('-');
  if (dash == std::string_view::npos || dash < task.size()) return "";
  const std::string_view version = dataset_id.substr(dash + 1);
  const bool is_version =
      version.size() >= 2 && version[0] == 'v' &&
      std::all_of(version.begin() + 1, version.end(), [](char c) { return c >= '0' && c <= '9'; });
  return is_version ? std::string(version) : "";
}

}  // namespace drop
