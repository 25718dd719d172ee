#include "config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <string_view>
#include <utility>

#include "drop/base/error.h"

namespace drop {

namespace {

// far beyond every honest config, and small enough that a hostile file costs nothing
constexpr size_t kMaxDepth = 8;
constexpr size_t kMaxNodes = 20000;
constexpr size_t kMaxFoundLength = 60;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// whether a line that begins with a quote holds the other one as well
bool closes_its_quote(std::string_view line) {
  if (line.empty() || (line.front() != '"' && line.front() != '\'')) return false;
  const char quote = line.front();
  for (size_t i = 1; i < line.size(); ++i) {
    if (quote == '"' && line[i] == '\\') {
      ++i;  // whatever is escaped
    } else if (line[i] == quote) {
      if (quote == '"' || i + 1 == line.size() || line[i + 1] != quote) return true;
      ++i;  // two single quotes stand for one
    }
  }
  return false;
}

// builds the tree from the parser's events: yaml-cpp's own nodes would hide duplicate keys
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& text, const std::string& source, bool from_file)
      : lines_(lines_of(text)), source_(source), from_file_(from_file) {}

  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) {
      fail(mark, "found a second document", "one document",
           "remove the line '---' and what follows");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { add(mark, make_node(mark)); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "found an alias (*name)", "plain values", "write the value out");
  }

  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    fail(mark, "found an anchor (&name)", "plain values", "remove it");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    refuse_tag(mark, tag);
    refuse_several_lines(mark, tag == "!", value);
    YamlNode node = make_node(mark);
    node.kind = YamlNode::Kind::kScalar;
    node.text = value;
    node.quoted = tag == "!";
    add(mark, std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  // a list or map that is still being filled
  struct Open {
    YAML::Mark mark;
    YamlNode node;
    bool has_key = false;
    std::string key;
    int key_line = 0;
  };

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& found,
                         const std::string& allowed, const std::string& cure) const {
    throw UsageError(location(source_, line_of(mark)) + ": " + found + "; allowed: " + allowed +
                     "; " + cure);
  }

  int line_of(const YAML::Mark& mark) const { return from_file_ ? mark.line + 1 : 0; }

  // yaml-cpp closes an open quote at the end of the file by itself, and folds lines into one
  void refuse_several_lines(const YAML::Mark& mark, bool quoted, const std::string& value) const {
    std::string_view rest;
    if (mark.line >= 0 && static_cast<size_t>(mark.line) < lines_.size()) {
      rest = lines_[static_cast<size_t>(mark.line)];
      rest.remove_prefix(std::min(rest.size(), static_cast<size_t>(std::max(mark.column, 0))));
    }
    const bool in_quotes = rest.starts_with('"') || rest.starts_with('\'');
    if (quoted && in_quotes && !closes_its_quote(rest)) {
      fail(mark, "found a quote that is not closed on its line", "values on one line",
           "close the quote");
    }
    if ((quoted && !in_quotes) || (!quoted && !rest.starts_with(value))) {
      fail(mark, "found a value that goes on in the next line", "values on one line",
           "check the indentation of the next line");
    }
  }

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (!tag.empty() && tag != "?" && tag != "!") {
      fail(mark, "found the tag " + printable(tag), "plain values", "remove the tag");
    }
  }

  YamlNode make_node(const YAML::Mark& mark) {
    if (++nodes_ > kMaxNodes) {
      fail(mark, "found more than " + std::to_string(kMaxNodes) + " values", "a config of a run",
           "give another file");
    }
    YamlNode node;
    node.line = line_of(mark);
    return node;
  }

  void open(const YAML::Mark& mark, const std::string& tag, YamlNode::Kind kind) {
    refuse_tag(mark, tag);
    if (stack_.size() >= kMaxDepth) {
      fail(mark, "found lists or sections nested too deep", "sections and keys",
           "write section, key and value");
    }
    refuse_as_key(mark);
    Open opened;
    opened.mark = mark;
    opened.node = make_node(mark);
    opened.node.kind = kind;
    stack_.push_back(std::move(opened));
  }

  void close() {
    Open closed = std::move(stack_.back());
    stack_.pop_back();
    add(closed.mark, std::move(closed.node));
  }

  void refuse_as_key(const YAML::Mark& mark) const {
    if (!stack_.empty() && stack_.back().node.kind == YamlNode::Kind::kMap &&
        !stack_.back().has_key) {
      fail(mark, "found a key that is no plain word", "key: value", "write key: value");
    }
  }

  void add(const YAML::Mark& mark, YamlNode node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = stack_.back();
    if (parent.node.kind == YamlNode::Kind::kList) {
      parent.node.children.push_back(std::move(node));
    } else if (parent.has_key) {
      // the value of the last key
      node.key = std::move(parent.key);
      node.line = parent.key_line;
      parent.has_key = false;
      parent.node.children.push_back(std::move(node));
    } else {
      // the next key, which must be new
      if (node.kind != YamlNode::Kind::kScalar) refuse_as_key(mark);
      for (const YamlNode& sibling : parent.node.children) {
        if (sibling.key == node.text) {
          fail(mark,
               "found the key '" + printable(node.text) + "' again (first on line " +
                   std::to_string(sibling.line) + ")",
               "each key once", "remove one of the two");
        }
      }
      parent.has_key = true;
      parent.key = std::move(node.text);
      parent.key_line = node.line;
    }
  }

  std::vector<std::string_view> lines_;
  const std::string& source_;
  bool from_file_;
  YamlNode root_;
  std::vector<Open> stack_;
  size_t nodes_ = 0;
  int documents_ = 0;
};

// bytes of the UTF-8 character that begins here; 0 = it is none
size_t utf8_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  size_t length = 0;
  if (lead < 0x80) {
    length = 1;
  } else if (lead >= 0xc2 && lead < 0xe0) {
    length = 2;
  } else if (lead >= 0xe0 && lead < 0xf0) {
    length = 3;
  } else if (lead >= 0xf0 && lead < 0xf5) {
    length = 4;
  }
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  // longer than need be, half of a pair, or beyond the last character
  if (length > 2) {
    const auto second = static_cast<unsigned char>(text[1]);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
      return 0;
    }
  }
  return length;
}

bool is_control(std::string_view text) {
  const auto code = static_cast<unsigned char>(text.front());
  if (text.front() == '\r') return !text.starts_with("\r\n");
  return (code < 0x20 && text.front() != '\t') || code == 0x7f;
}

// what yaml-cpp would pass over in silence: it takes one control character for the end of the file,
// replaces broken characters, and takes tabs for blanks in some places
void refuse_odd_characters(std::string_view text, const std::string& source, bool from_file) {
  const std::vector<std::string_view> lines = lines_of(text);
  const char* text_start = text.data();
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string where = location(source, from_file ? static_cast<int>(i) + 1 : 0);
    for (size_t j = 0; j < lines[i].size();) {
      // with the line feed, so that \r\n is seen as one
      const std::string_view rest =
          text.substr(static_cast<size_t>(lines[i].data() - text_start) + j);
      const size_t length = utf8_length(rest);
      if (length == 0 || is_control(rest)) {
        throw UsageError(where + ": found " +
                         (length == 0 ? "broken UTF-8" : "a control character") + " (byte " +
                         std::to_string(static_cast<unsigned char>(rest.front())) +
                         "); allowed: plain UTF-8 text; save the file as plain text");
      }
      j += length;
    }
    const size_t indentation = std::min(lines[i].find_first_not_of(" \t\r"), lines[i].size());
    const bool has_content = indentation < lines[i].size() && lines[i][indentation] != '#';
    if (has_content && lines[i].substr(0, indentation).find('\t') != std::string_view::npos) {
      throw UsageError(where +
                       ": found a tab as indentation; allowed: blanks; replace the tab by two "
                       "blanks");
    }
  }
}

}  // namespace

YamlNode parse_yaml(const std::string& text, const std::string& source, bool from_file) {
  // without the byte order mark of some editors
  const std::string content = text.starts_with("\xef\xbb\xbf") ? text.substr(3) : text;
  refuse_odd_characters(content, source, from_file);
  TreeBuilder builder(content, source, from_file);
  try {
    std::istringstream stream(content);
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      throw UsageError(source +
                       ": found an empty file; allowed: keys and values; write {} for a config of "
                       "defaults");
    }
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    const int line = from_file && !error.mark.is_null() ? error.mark.line + 1 : 0;
    throw UsageError(location(source, line) + ": found what is no YAML (" + printable(error.msg) +
                     "); allowed: key: value; check indentation, colons and quotes");
  }
  return builder.take_root();
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string location(const std::string& source, int line) {
  return line > 0 ? source + ":" + std::to_string(line) : source;
}

std::string printable(const std::string& text) {
  std::string result = text;
  // never cut inside a character of several bytes
  if (result.size() > kMaxFoundLength) {
    size_t end = kMaxFoundLength;
    while (end > 0 && (static_cast<unsigned char>(result[end]) & 0xc0) == 0x80) --end;
    result = result.substr(0, end) + "...";
  }
  std::replace_if(
      result.begin(), result.end(),
      [](char character) {
        const auto code = static_cast<unsigned char>(character);
        return code < 0x20 || code == 0x7f;
      },
      ' ');
  return result;
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a section";
    case YamlNode::Kind::kScalar:
      break;
  }
  return node.quoted ? "the text \"" + printable(node.text) + "\"" : printable(node.text);
}

}  // namespace drop
