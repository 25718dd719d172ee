#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace drop {

/// One value of a YAML text, with everything that strict reading needs to know about it.
struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string text;                ///< of a scalar
  bool quoted = false;             ///< a scalar in quotes is text, never a number or a switch
  std::vector<YamlNode> children;  ///< of a list, or of a map in the order of the file
  std::string key;                 ///< of a map's child
  int line = 0;                    ///< of the key or the value, from 1; 0 = not from a file
};

/// Reads one YAML document. Throws UsageError (with `source` and line) for an empty text, a syntax
/// error, a duplicate key, a key that is no plain word, a value over several lines (an open quote
/// would swallow the rest of the file), an anchor, alias or tag, a second document, a tab as
/// indentation, a control character, what is no UTF-8, and for nesting or size beyond any config.
/// @param from_file  false = the text is a command line's, which has no lines
YamlNode parse_yaml(const std::string& text, const std::string& source, bool from_file = true);

/// True for well-formed UTF-8: what YAML, JSON and so every file of ours can hold.
bool is_utf8(std::string_view text);

/// "FILE:LINE", or only the source when there is no line.
std::string location(const std::string& source, int line);

/// The text cut to a length that fits into a message, without control characters.
std::string printable(const std::string& text);

/// What a message says was found: the scalar's text, "a list", "a section" or "nothing".
std::string describe(const YamlNode& node);

}  // namespace drop
