#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace drop {

/// What is written into files and to standard output: indented by two, with a line feed at the end.
/// Bytes that are no UTF-8, as paths may hold, become U+FFFD.
std::string json_text(const nlohmann::ordered_json& json);

}  // namespace drop
