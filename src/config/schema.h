#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "config/yaml_tree.h"
#include "drop/config/config.h"

namespace drop {

/// Why a value was refused.
struct Refusal {
  std::string found;
  std::string cure;  ///< empty = name the default
};

/// One key of the config: everything that the YAML reader, `--set`, `to_yaml` and the messages know
/// about it. Adding a key means one field in config.h and one row of the table in schema.cc.
struct Key {
  std::string path;     ///< "train.discount"
  std::string comment;  ///< what it is, and why the default is what it is
  std::string allowed;  ///< "a number in [0, 1)"
  bool is_list = false;
  bool is_text = false;
  /// Stores the value, or says why not.
  std::function<std::optional<Refusal>(const YamlNode&, Config&)> read;
  /// The value as YAML on one line.
  std::function<std::string(const Config&)> write;
};

/// A group of keys: "train". The keys on top level belong to the section without a name.
struct Section {
  std::string name;
  std::string comment;
};

/// Every section and every key, in the order in which `to_yaml` writes them.
std::span<const Section> schema_sections();
std::span<const Key> schema_keys();

/// The key of that path, or nullptr.
const Key* find_key(const std::string& path);

/// "train.discount" -> "train"; "seed" -> "".
std::string section_of(const std::string& path);

/// "train.discount" -> "discount".
std::string leaf_of(const std::string& path);

}  // namespace drop
