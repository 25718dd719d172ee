#include "drop/config/config.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>

#include "config/names.h"
#include "config/schema.h"
#include "config/yaml_tree.h"
#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/text.h"

namespace drop {

namespace {

constexpr uintmax_t kMaxFileSize = 1024 * 1024;

// where each key was given last ("FILE:LINE" or "--set ..."), for messages about pairs of keys
using Given = std::map<std::string, std::string>;

[[noreturn]] void refuse(const std::string& where, const std::string& path,
                         const std::string& found, const std::string& allowed,
                         const std::string& cure) {
  throw UsageError(where + ": " + path + ": found " + found + "; allowed: " + allowed + "; " +
                   cure);
}

// --- unknown names ---

bool is_section(const std::string& name) {
  return std::ranges::any_of(schema_sections(),
                             [&](const Section& section) { return section.name == name; });
}

// what may stand in a section: its keys, and on top level the other sections as well
std::vector<std::string> names_in(const std::string& section) {
  std::vector<std::string> names;
  for (const Key& key : schema_keys()) {
    if (section_of(key.path) == section) names.push_back(leaf_of(key.path));
  }
  if (section.empty()) {
    for (const Section& other : schema_sections()) {
      if (!other.name.empty()) names.push_back(other.name);
    }
  }
  return names;
}

std::string full_path(const std::string& section, const std::string& leaf) {
  return section.empty() ? leaf : section + "." + leaf;
}

// the known keys that were probably meant, as full paths; empty when nothing is close
std::vector<std::string> probably_meant(const std::string& section, const std::string& leaf) {
  std::vector<std::string> meant;
  // the right name in the wrong section
  for (const Key& key : schema_keys()) {
    if (meant.empty() && leaf_of(key.path) == leaf_of(leaf)) meant.push_back(key.path);
  }
  // a typo in this section, else one anywhere
  const std::string here = nearest_name(leaf, names_in(section));
  if (!here.empty()) meant.push_back(full_path(section, here));
  if (meant.empty()) {
    std::vector<std::string> paths;
    for (const Key& key : schema_keys()) paths.push_back(key.path);
    const std::string nearest = nearest_name(full_path(section, leaf), paths);
    if (!nearest.empty()) meant.push_back(nearest);
  }
  return meant;
}

[[noreturn]] void refuse_unknown(const std::string& where, const std::string& section,
                                 const std::string& leaf) {
  const std::string known_section = is_section(section) ? section : "";
  std::string cure = "remove it";
  if (section.empty() && find_key(leaf) != nullptr) {
    // `train.steps: 5` on one line of a file
    cure = "write " + leaf_of(leaf) + " below the section '" + section_of(leaf) + ":'";
  } else if (const auto meant = probably_meant(known_section, leaf); !meant.empty()) {
    cure = "did you mean " + join(meant, " or ") + "?";
  }
  refuse(where, printable(full_path(section, leaf)), "an unknown key",
         join(names_in(known_section)), cure);
}

// --- one value ---

void read_value(const std::string& where, const Key& key, const YamlNode& node, Config& config,
                Given& given) {
  const std::optional<Refusal> refusal = key.read(node, config);
  if (refusal) {
    const std::string fallback = "the default is " + key.write(Config{});
    refuse(where, key.path, refusal->found, key.allowed,
           refusal->cure.empty() ? fallback : refusal->cure);
  }
  given[key.path] = where;
}

// --- the file ---

void read_section(const std::string& source, const std::string& section, const YamlNode& map,
                  Config& config, Given& given) {
  for (const YamlNode& child : map.children) {
    const std::string where = location(source, child.line);
    const std::string path = full_path(section, child.key);
    const Key* key = section.empty() && !section_of(path).empty() ? nullptr : find_key(path);
    if (key != nullptr) {
      read_value(where, *key, child, config, given);
    } else if (section.empty() && !child.key.empty() && is_section(child.key)) {
      // a section with all of its keys commented out is empty
      if (child.kind != YamlNode::Kind::kMap && child.kind != YamlNode::Kind::kNull) {
        refuse(where, path, describe(child), "a section with the keys " + join(names_in(path)),
               "write the keys below it, two blanks further right");
      }
      read_section(source, child.key, child, config, given);
    } else {
      refuse_unknown(where, section, child.key);
    }
  }
}

// --- overrides ---

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

// the value of an override: a quoted text or flow list is YAML, everything else is taken as it is
YamlNode override_value(const std::string& where, const Key& key, const std::string& value) {
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = value;
  node.quoted = value.empty();
  const bool is_yaml = !value.empty() && (value.front() == '"' || value.front() == '\'' ||
                                          (value.front() == '[' && !key.is_text));
  if (is_yaml) {
    // yaml-cpp's own word for this would be of no help
    if (value.front() == '[' && value.back() != ']') {
      throw UsageError(where + ": " + key.path +
                       ": found a list without its end; allowed: [a, b]; close the bracket and "
                       "put quotes around the whole argument");
    }
    return parse_yaml(value, where, false);
  }
  if (!key.is_list) return node;
  // a,b,c stands for [a, b, c]
  YamlNode list;
  list.kind = YamlNode::Kind::kList;
  for (const std::string& part : split(value)) {
    YamlNode entry;
    entry.kind = YamlNode::Kind::kScalar;
    entry.text = part;
    list.children.push_back(std::move(entry));
  }
  return list;
}

void apply_override(const std::string& text, Config& config, Given& given) {
  const std::string where = "--set " + printable(text);
  const size_t equals = text.find('=');
  if (equals == std::string::npos) {
    throw UsageError(where +
                     ": found no '='; allowed: key=value; write for example --set "
                     "train.steps=1000");
  }
  const std::string path = trimmed(text.substr(0, equals));
  const Key* key = find_key(path);
  if (key == nullptr) {
    if (!path.empty() && is_section(path)) {
      refuse(where, path, "a section", join(names_in(path)), "write " + path + ".KEY=value");
    }
    refuse_unknown(where, section_of(path), leaf_of(path));
  }
  read_value(where, *key, override_value(where, *key, trimmed(text.substr(equals + 1))), config,
             given);
  // the later of the two says which runs there are
  if (path == "seed") config.seeds.clear();
  if (path == "seeds") given.erase("seed");
}

// --- keys that must agree ---

std::string where_given(const Given& given, const std::string& path, const std::string& source) {
  const auto found = given.find(path);
  return found == given.end() ? source : found->second;
}

void check_together(const std::string& source, const Given& given, Config& config) {
  // `seed` beside `seeds` may only repeat one of them, as a resolved config does
  if (!config.seeds.empty()) {
    if (!given.contains("seed")) {
      config.seed = config.seeds.front();
    } else if (std::ranges::find(config.seeds, config.seed) == config.seeds.end()) {
      refuse(where_given(given, "seed", source), "seed",
             std::to_string(config.seed) + " beside seeds " + find_key("seeds")->write(config),
             "one of the two, or a seed out of seeds", "remove seed or seeds");
    }
  }
  if (config.train.subtasks_per_batch > config.train.batch_size) {
    refuse(where_given(given, "train.subtasks_per_batch", source), "train.subtasks_per_batch",
           std::to_string(config.train.subtasks_per_batch),
           "at most train.batch_size (" + std::to_string(config.train.batch_size) + ")",
           "0 lets every row draw its own sub-task");
  }
  // lambda = exp(l) has no zero
  if (config.train.multiplier == MultiplierForm::kLog && config.train.initial_multiplier() == 0) {
    refuse(where_given(given, "train.multiplier_initial", source), "train.multiplier_initial", "0",
           "with multiplier log a number in (0, 1000000]", "write auto, which is 1");
  }
}

// --- names on the command line ---

template <class Enum>
Enum parse_name(const std::string& what, const std::string& name) {
  const std::optional<Enum> value = value_of<Enum>(name);
  if (value) return *value;
  const std::vector<std::string> names = all_names<Enum>();
  const std::string nearest = nearest_name(name, names);
  throw UsageError(what + ": found '" + printable(name) + "'; allowed: " + join(names) + "; " +
                   (nearest.empty() ? "choose one of them" : "did you mean " + nearest + "?"));
}

}  // namespace

Config parse_config(const std::string& yaml, const std::string& source,
                    const std::vector<std::string>& overrides) {
  Config config;
  Given given;
  const YamlNode root = parse_yaml(yaml, source);
  if (root.kind == YamlNode::Kind::kNull) {
    throw UsageError(source +
                     ": found no keys; allowed: keys and values; write {} for a config of "
                     "defaults");
  }
  if (root.kind != YamlNode::Kind::kMap) {
    throw UsageError(location(source, root.line) + ": found " + describe(root) +
                     "; allowed: keys and values on top level; write key: value");
  }
  read_section(source, "", root, config, given);
  for (const std::string& text : overrides) apply_override(text, config, given);
  check_together(source, given, config);
  return config;
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw UsageError(path + ": found no such file; allowed: a config in YAML; check the path");
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw UsageError(path + ": found no regular file; allowed: a config in YAML; check the path");
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (!error && size > kMaxFileSize) {
    throw UsageError(path + ": found " + human_bytes(static_cast<double>(size)) +
                     "; allowed: a config of at most " +
                     human_bytes(static_cast<double>(kMaxFileSize)) + "; check the path");
  }
  std::string text;
  try {
    text = read_text_file(path);
  } catch (const DataError& unreadable) {
    // for a config that is wrong usage, not bad data
    throw UsageError(unreadable.what());
  }
  return parse_config(text, path, overrides);
}

std::string to_yaml(const Config& config) {
  std::string yaml;
  for (const Section& section : schema_sections()) {
    if (!yaml.empty()) yaml += "\n";
    yaml += "# --- " + section.comment + " ---\n";
    if (!section.name.empty()) yaml += section.name + ":\n";
    const std::string indentation = section.name.empty() ? "" : "  ";
    for (const Key& key : schema_keys()) {
      if (section_of(key.path) != section.name) continue;
      yaml += indentation + "# " + key.comment + " [" + key.allowed + "]\n";
      yaml += indentation + leaf_of(key.path) + ": " + key.write(config) + "\n";
    }
  }
  return yaml;
}

std::vector<ConfigSetting> settings_of(const Config& config) {
  std::vector<ConfigSetting> settings;
  for (const Key& key : schema_keys()) settings.push_back({key.path, key.write(config)});
  return settings;
}

std::string to_string(InferenceRuleKind rule) { return name_of(rule); }
std::string to_string(DecompositionKind rule) { return name_of(rule); }
std::string to_string(MultiplierForm form) { return name_of(form); }
std::string to_string(Device device) { return name_of(device); }
std::string to_string(Precision precision) { return name_of(precision); }
std::string to_string(Physics physics) { return name_of(physics); }
std::string to_string(StepEngineKind engine) { return name_of(engine); }
std::string to_string(AscentEngineKind engine) { return name_of(engine); }

InferenceRuleKind inference_rule_from(const std::string& name) {
  return parse_name<InferenceRuleKind>("inference rule", name);
}
Device device_from(const std::string& name) { return parse_name<Device>("device", name); }
Precision precision_from(const std::string& name) {
  return parse_name<Precision>("precision", name);
}
Physics physics_from(const std::string& name) { return parse_name<Physics>("physics", name); }
DecompositionKind decomposition_from(const std::string& name) {
  return parse_name<DecompositionKind>("decomposition rule", name);
}

std::vector<InferenceRuleKind> inference_rules_from(const std::string& comma_separated) {
  std::vector<InferenceRuleKind> rules;
  for (const std::string& name : split(comma_separated)) {
    const InferenceRuleKind rule = inference_rule_from(name);
    if (std::ranges::find(rules, rule) != rules.end()) {
      throw UsageError("inference rules: found '" + name +
                       "' twice; allowed: each rule once; remove one of the two");
    }
    rules.push_back(rule);
  }
  if (rules.empty()) {
    throw UsageError("inference rules: found an empty list; allowed: one or more of " +
                     join(all_names<InferenceRuleKind>()) + "; write for example best,grad-ada");
  }
  return rules;
}

}  // namespace drop
