#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace drop {

/// The candidate with the smallest edit distance to `word`, or an empty string when none is close
/// (distance above half of the word's length): "did you mean ...?".
std::string nearest_name(std::string_view word, std::span<const std::string> candidates);

/// "a, b, c"
std::string join(std::span<const std::string> parts, std::string_view separator = ", ");

/// "a,b,,c" -> {"a", "b", "c"}: empty parts are dropped, blanks at the ends of a part removed.
std::vector<std::string> split(std::string_view text, char separator = ',');

/// 1536 -> "1.5 KiB"
std::string human_bytes(double bytes);

/// 3725 -> "1h 02m"; 65 -> "1m 05s"; 4.2 -> "4s"
std::string human_duration(double seconds);

/// Shortest decimal text that reads back as the same number ("0.01", "1e-08").
std::string shortest(double value);

}  // namespace drop
