#include "config/schema.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "config/names.h"
#include "drop/base/text.h"

namespace drop {

namespace {

using Kind = YamlNode::Kind;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// the largest integer that JSON and doubles hold exactly
constexpr int64_t kMaxSeed = (int64_t{1} << 53) - 1;
constexpr size_t kMaxSeeds = 10000;
constexpr size_t kMaxNameLength = 100;
constexpr size_t kMaxPathLength = 4096;

Refusal refusal(const YamlNode& node) { return {describe(node), ""}; }

// the text of a plain scalar; nothing for quoted text, lists, sections and empty values
std::optional<std::string> plain(const YamlNode& node) {
  if (node.kind != Kind::kScalar || node.quoted) return std::nullopt;
  return node.text;
}

// decimal numbers only: no hexadecimal, underscores, sexagesimals, infinities or NaN
std::optional<double> number_from(const YamlNode& node) {
  const std::optional<std::string> text = plain(node);
  if (!text || text->empty()) return std::nullopt;
  if (text->find_first_not_of("0123456789+-.eE") != std::string::npos) return std::nullopt;
  // std::from_chars knows no plus in front
  std::string_view digits = *text;
  if (digits.front() == '+') digits.remove_prefix(1);
  if (digits.empty() || (digits.size() < text->size() && digits.front() == '-')) {
    return std::nullopt;
  }
  // 010 is eight to some readers and ten to others
  const std::string_view magnitude = digits.substr(digits.front() == '-' ? 1 : 0);
  if (magnitude.size() > 1 && magnitude[0] == '0' && magnitude[1] >= '0' && magnitude[1] <= '9') {
    return std::nullopt;
  }
  double value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) return std::nullopt;
  if (!std::isfinite(value)) return std::nullopt;
  return value;
}

// 1000000, 1e6 and 1.0e6 are the same integer; 1.5 is none
std::optional<int64_t> integer_from(const YamlNode& node) {
  const std::optional<double> value = number_from(node);
  constexpr double kLargest = 9007199254740992.0;
  if (!value || std::trunc(*value) != *value || std::abs(*value) > kLargest) return std::nullopt;
  return static_cast<int64_t>(*value);
}

struct Range {
  double low = -kInfinity;
  double high = kInfinity;
  bool low_open = false;
  bool high_open = false;

  bool contains(double value) const {
    return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
  }
  // every finite bound in the table is a whole number
  static std::string bound(double value) { return std::to_string(static_cast<int64_t>(value)); }
  std::string text() const {
    if (low == -kInfinity && high == kInfinity) return "a finite number";
    return std::string("a number in ") + (low_open ? "(" : "[") + bound(low) + ", " + bound(high) +
           (high_open ? ")" : "]");
  }
};

// readable for every YAML reader: version 1.1 wants a point in front of an exponent
std::string number_text(double value) {
  std::string text = shortest(value);
  const size_t exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos) {
    text.insert(exponent, ".0");
  }
  return text;
}

// plain where every YAML reader takes it for text, else in double quotes
std::string quoted_text(const std::string& text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const bool simple = !text.empty() && is_letter(text.front()) &&
                      std::all_of(text.begin(), text.end(), [&](char c) {
                        return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                               c == '.' || c == '/';
                      });
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  static constexpr const char* kReserved[] = {"null", "true", "false", "yes", "no",
                                              "on",   "off",  "y",     "n"};
  const bool reserved = std::any_of(std::begin(kReserved), std::end(kReserved),
                                    [&](const char* word) { return lower == word; });
  if (simple && !reserved) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

template <class Values, class ToText>
std::string list_text(const Values& values, ToText to_text) {
  std::vector<std::string> parts;
  for (const auto& value : values) parts.push_back(to_text(value));
  return "[" + join(parts) + "]";
}

// --- one maker for each type of key; `access` is a generic lambda that names the field ---

template <class Access>
Key integer(std::string path, std::string comment, int64_t low, int64_t high, Access access) {
  Key key;
  key.path = std::move(path);
  key.comment = std::move(comment);
  key.allowed = "an integer from " + std::to_string(low) + " to " + std::to_string(high);
  key.read = [=](const YamlNode& node, Config& config) -> std::optional<Refusal> {
    const std::optional<int64_t> value = integer_from(node);
    if (!value || *value < low || *value > high) return refusal(node);
    access(config) = *value;
    return std::nullopt;
  };
  key.write = [=](const Config& config) { return std::to_string(access(config)); };
  return key;
}

template <class Access>
Key number(std::string path, std::string comment, Range range, Access access) {
  Key key;
  key.path = std::move(path);
  key.comment = std::move(comment);
  key.allowed = range.text();
  key.read = [=](const YamlNode& node, Config& config) -> std::optional<Refusal> {
    const std::optional<double> value = number_from(node);
    if (!value || !range.contains(*value)) return refusal(node);
    access(config) = *value;
    return std::nullopt;
  };
  key.write = [=](const Config& config) { return number_text(access(config)); };
  return key;
}

// a number, or `auto` for an empty std::optional
template <class Access>
Key number_or_auto(std::string path, std::string comment, Range range, Access access) {
  Key key;
  key.path = std::move(path);
  key.comment = std::move(comment);
  key.allowed = "auto or " + range.text();
  key.read = [=](const YamlNode& node, Config& config) -> std::optional<Refusal> {
    if (plain(node) == "auto") {
      access(config).reset();
      return std::nullopt;
    }
    const std::optional<double> value = number_from(node);
    if (!value || !range.contains(*value)) return refusal(node);
    access(config) = *value;
    return std::nullopt;
  };
  key.write = [=](const Config& config) {
    return access(config) ? number_text(*access(config)) : std::string("auto");
  };
  return key;
}

template <class Access>
Key toggle(std::string path, std::string comment, Access access) {
  Key key;
  key.path = std::move(path);
  key.comment = std::move(comment);
  key.allowed = "on, off, true, false";
  key.read = [=](const YamlNode& node, Config& config) -> std::optional<Refusal> {
    const std::optional<std::string> text = plain(node);
    if (text == "on" || text == "true") {
      access(config) = true;
    } else if (text == "off" || text == "false") {
      access(config) = false;
    } else {
      return refusal(node);
    }
    return std::nullopt;
  };
  key.write = [=](const Config& config) { return std::string(access(config) ? "on" : "off"); };
  return key;
}

std::string did_you_mean(const std::string& word, std::span<const std::string> candidates) {
  const std::string nearest = nearest_name(word, candidates);
  return nearest.empty() ? "" : "did you mean " + nearest + "?";
}

template <class Enum, class Access>
Key choice(std::string path, std::string comment, Access access) {
  Key key;
  key.path = std::move(path);
  key.comment = std::move(comment);
  key.allowed = join(all_names<Enum>());
  key.read = [=](const YamlNode& node, Config& config) -> std::optional<Refusal> {
    const std::optional<Enum> value =
        node.kind == Kind::kScalar ? value_of<Enum>(node.text) : std::nullopt;
    if (!value) return Refusal{describe(node), did_you_mean(node.text, all_names<Enum>())};
    access(config) = *value;
    return std::nullopt;
  };
  key.write = [=](const Config& config) { return name_of<Enum>(access(config)); };
  return key;
}

template <class Access, class Accept>
Key text(std::string path, std::string comment, std::string allowed, Accept accept, Access access) {
  Key key;
  key.path = std::move(path);
  key.comment = std::move(comment);
  key.allowed = std::move(allowed);
  key.is_text = true;
  key.read = [=](const YamlNode& node, Config& config) -> std::optional<Refusal> {
    if (node.kind != Kind::kScalar || !accept(node.text)) return refusal(node);
    access(config) = node.text;
    return std::nullopt;
  };
  key.write = [=](const Config& config) { return quoted_text(access(config)); };
  return key;
}

// a list of distinct values; `parse` turns one entry into a value, or nothing
template <class Value, class Parse, class ToText, class Access>
Key list(std::string path, std::string comment, std::string allowed, size_t min_size,
         std::vector<std::string> candidates, Parse parse, ToText to_text, Access access) {
  Key key;
  key.path = std::move(path);
  key.comment = std::move(comment);
  key.allowed = std::move(allowed);
  key.is_list = true;
  key.read = [=](const YamlNode& node, Config& config) -> std::optional<Refusal> {
    if (node.kind == Kind::kScalar) {
      return Refusal{describe(node), "write [" + printable(node.text) + "]"};
    }
    if (node.kind != Kind::kList) return refusal(node);
    std::vector<Value> values;
    for (const YamlNode& child : node.children) {
      const std::optional<Value> value = parse(child);
      if (!value) {
        return Refusal{describe(child) + " in the list", did_you_mean(child.text, candidates)};
      }
      if (std::find(values.begin(), values.end(), *value) != values.end()) {
        return Refusal{describe(child) + " twice in the list", "remove one of the two"};
      }
      if (values.size() == kMaxSeeds) {
        return Refusal{"a list of more than " + std::to_string(kMaxSeeds), "shorten the list"};
      }
      values.push_back(*value);
    }
    if (values.size() < min_size) return Refusal{"an empty list", ""};
    access(config) = std::move(values);
    return std::nullopt;
  };
  key.write = [=](const Config& config) { return list_text(access(config), to_text); };
  return key;
}

template <class Access>
Key rule_list(std::string path, std::string comment, Access access) {
  return list<InferenceRuleKind>(
      std::move(path), std::move(comment),
      "a list of one or more of " + join(all_names<InferenceRuleKind>()) + ", each once", 1,
      all_names<InferenceRuleKind>(),
      [](const YamlNode& node) {
        return node.kind == Kind::kScalar ? value_of<InferenceRuleKind>(node.text) : std::nullopt;
      },
      [](InferenceRuleKind rule) { return name_of(rule); }, access);
}

// encoder_inputs is one of two lists
template <class Access>
Key encoder_input_list(std::string path, std::string comment, Access access) {
  Key key;
  key.path = std::move(path);
  key.comment = std::move(comment);
  key.allowed = "[s, a] or [s]";
  key.is_list = true;
  key.read = [=](const YamlNode& node, Config& config) -> std::optional<Refusal> {
    if (node.kind != Kind::kList) return refusal(node);
    std::vector<std::string> inputs;
    for (const YamlNode& child : node.children) {
      if (child.kind != Kind::kScalar) return Refusal{describe(child) + " in the list", ""};
      inputs.push_back(child.text);
    }
    const std::vector<std::string> state = {"s"};
    const std::vector<std::string> state_and_action = {"s", "a"};
    if (inputs != state && inputs != state_and_action) {
      return Refusal{"[" + printable(join(inputs)) + "]", ""};
    }
    access(config) = std::move(inputs);
    return std::nullopt;
  };
  key.write = [=](const Config& config) {
    return list_text(access(config), [](const std::string& input) { return input; });
  };
  return key;
}

bool is_folder_name(const std::string& text) {
  return !text.empty() && text.size() <= kMaxNameLength && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

bool is_line_of_text(const std::string& text) {
  return text.size() <= kMaxPathLength && is_utf8(text) &&
         std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

constexpr const char* kFolderName =
    "letters, digits, '-', '_' and '.', at most 100, not beginning with '.'";

std::vector<Key> make_keys() {
  std::vector<Key> keys;

  // --- the run ---
  keys.push_back(text(
      "name", "the run lies in runs/<name>/<dataset>/<variant>/seed_<s>", kFolderName,
      is_folder_name, [](auto& c) -> auto& { return c.name; }));
  keys.push_back(text(
      "task", "environment for evaluation, e.g. hopper; \"\" = follows from the data set's D4RL id",
      std::string("\"\" or ") + kFolderName,
      [](const std::string& value) { return value.empty() || is_folder_name(value); },
      [](auto& c) -> auto& { return c.task; }));
  keys.push_back(text(
      "dataset",
      "path of an HDF5 file, or a D4RL id that is looked up in $D4RL_DATASET_DIR "
      "(else ~/.d4rl/datasets)",
      "one line of UTF-8 text, at most 4096 bytes", is_line_of_text,
      [](auto& c) -> auto& { return c.dataset; }));
  keys.push_back(integer(
      "seed", "one seed feeds every named random stream of a run", 0, kMaxSeed,
      [](auto& c) -> auto& { return c.seed; }));
  keys.push_back(list<int64_t>(
      "seeds", "several runs of this config, one for each seed (the paper takes 5); [] = only seed",
      "a list of distinct integers from 0 to " + std::to_string(kMaxSeed), 0, {},
      [](const YamlNode& node) {
        const std::optional<int64_t> value = integer_from(node);
        return value && *value >= 0 && *value <= kMaxSeed ? value : std::nullopt;
      },
      [](int64_t value) { return std::to_string(value); },
      [](auto& c) -> auto& { return c.seeds; }));
  keys.push_back(choice<Device>(
      "device", "auto = the GPU where there is one, else the CPU",
      [](auto& c) -> auto& { return c.device; }));
  keys.push_back(choice<Precision>(
      "precision",
      "matrix products of training and ascents; fp32 is the paper's, tf32 for GPUs, bf16 for GPUs "
      "and for CPUs with AMX or AVX512-BF16; auto = fp32 on a CPU, tf32 on a GPU",
      [](auto& c) -> auto& { return c.precision; }));
  keys.push_back(integer(
      "threads", "CPU threads; 0 = all cores that the process may use", 0, 4096,
      [](auto& c) -> auto& { return c.threads; }));
  keys.push_back(choice<Physics>(
      "physics",
      "d4rl = the bodies that the data were recorded with, so that scores compare with the "
      "paper's; modern = today's",
      [](auto& c) -> auto& { return c.physics; }));

  // --- decomposition ---
  keys.push_back(choice<DecompositionKind>(
      "decomposition.rule",
      "rank sorts by return (Section 3.1, the paper's choice); the others are Figure 5's",
      [](auto& c) -> auto& { return c.decomposition.rule; }));
  keys.push_back(integer(
      "decomposition.num_subtasks", "N; Table 9 has one for each data set, 100 is hopper-medium's",
      1, 10'000'000, [](auto& c) -> auto& { return c.decomposition.num_subtasks; }));
  keys.push_back(integer(
      "decomposition.trajectories_per_subtask",
      "M; Table 9 has one for each data set, 5 is hopper-medium's", 1, 10'000'000,
      [](auto& c) -> auto& { return c.decomposition.trajectories_per_subtask; }));
  keys.push_back(toggle(
      "decomposition.keep_unfinished",
      "keep the file's last trajectory though it was cut off; off, because its "
      "return is not comparable",
      [](auto& c) -> auto& { return c.decomposition.keep_unfinished; }));

  // --- model ---
  keys.push_back(choice<EmbeddingKind>(
      "model.embedding",
      "table = one embedding for each sub-task (Algorithm 1); cvae = DROP+CVAE (Appendix C.4)",
      [](auto& c) -> auto& { return c.model.embedding; }));
  keys.push_back(integer(
      "model.embedding_dim", "d, with embedding table; 5 in all of Table 9", 1, 4096,
      [](auto& c) -> auto& { return c.model.embedding_dim; }));
  keys.push_back(toggle(
      "model.bounded_embedding",
      "with embedding table: a tanh keeps z in [-1, 1]^d, the box of search.clip too; off = no "
      "tanh, and the box is [-2, 2]^d",
      [](auto& c) -> auto& { return c.model.bounded_embedding; }));
  keys.push_back(integer(
      "model.hidden_width", "width of every hidden layer; 512 in Table 7", 1, 65536,
      [](auto& c) -> auto& { return c.model.hidden_width; }));
  keys.push_back(choice<PolicyStd>(
      "model.policy_std",
      "fixed = unit variance, which makes the behaviour loss a squared error; learned = one for "
      "each action dimension",
      [](auto& c) -> auto& { return c.model.policy_std; }));
  keys.push_back(integer(
      "model.latent_dim",
      "d, with embedding cvae; 0 = twice the action dimension, usual for such "
      "models",
      0, 4096, [](auto& c) -> auto& { return c.model.latent_dim; }));
  keys.push_back(encoder_input_list(
      "model.encoder_inputs",
      "cvae only: [s, a] as in the works that the paper follows; [s] is its literal text",
      [](auto& c) -> auto& { return c.model.encoder_inputs; }));
  keys.push_back(number(
      "model.kl_weight", "cvae only: weight of the KL term; 1 is the plain evidence bound",
      {0, 1e6}, [](auto& c) -> auto& { return c.model.kl_weight; }));

  // --- train ---
  keys.push_back(integer(
      "train.steps",
      "gradient steps; steps * target_rate is how far scores look ahead and "
      "must well exceed 1 / (1 - discount); the default does so tenfold",
      0, 10'000'000'000, [](auto& c) -> auto& { return c.train.steps; }));
  keys.push_back(integer(
      "train.batch_size", "transitions in a step; 1024 in Table 7", 1, 1'000'000,
      [](auto& c) -> auto& { return c.train.batch_size; }));
  keys.push_back(number(
      "train.learning_rate", "Adam's, for every network; 1e-3 in Table 7", {0, 1, true, false},
      [](auto& c) -> auto& { return c.train.learning_rate; }));
  keys.push_back(number(
      "train.discount", "gamma of the TD target; 0.99 as usual for these tasks",
      {0, 1, false, true}, [](auto& c) -> auto& { return c.train.discount; }));
  keys.push_back(number(
      "train.target_rate",
      "v, soft update of the target score model; 0.005 as usual, short "
      "runs need 0.05",
      {0, 1, true, false}, [](auto& c) -> auto& { return c.train.target_rate; }));
  keys.push_back(toggle(
      "train.score",
      "off learns the behaviour alone, no score: behaviour cloning (with "
      "decomposition.num_subtasks: "
      "1), and quick fits for the choice of N",
      [](auto& c) -> auto& { return c.train.score; }));
  keys.push_back(toggle(
      "train.conservative",
      "the constraint on scores of unseen embeddings (Equation 8); off is the "
      "ablation 'w/o Reg'",
      [](auto& c) -> auto& { return c.train.conservative; }));
  keys.push_back(number(
      "train.conservative_threshold", "eta_c, in raw reward units; 2.0 is the paper's", {},
      [](auto& c) -> auto& { return c.train.conservative_threshold; }));
  keys.push_back(choice<MultiplierForm>(
      "train.multiplier",
      "hinge pushes only while the constraint is violated; projected and log let scores fall "
      "without bound and are kept for study",
      [](auto& c) -> auto& { return c.train.multiplier; }));
  keys.push_back(number(
      "train.multiplier_rate", "step size of lambda's ascent; as Adam's 1e-3", {0, 1000},
      [](auto& c) -> auto& { return c.train.multiplier_rate; }));
  keys.push_back(number_or_auto(
      "train.multiplier_initial",
      "lambda before the first step; auto = 1 (hinge, log) or 0 "
      "(projected)",
      {0, 1e6}, [](auto& c) -> auto& { return c.train.multiplier_initial; }));
  keys.push_back(toggle(
      "train.td_updates_embedding", "let the TD loss move the embeddings too, as Algorithm 1 does",
      [](auto& c) -> auto& { return c.train.td_updates_embedding; }));
  keys.push_back(integer(
      "train.subtasks_per_batch",
      "0 = every row draws its own sub-task (low variance); 1 = Algorithm 1's "
      "literal form",
      0, 1'000'000, [](auto& c) -> auto& { return c.train.subtasks_per_batch; }));
  keys.push_back(number_or_auto(
      "train.reward_scale",
      "scores are trained on scale * (reward + shift); auto = 1 / "
      "largest absolute discounted return, which keeps scores of order 1",
      {0, 1e9, true, false}, [](auto& c) -> auto& { return c.train.reward_scale; }));
  keys.push_back(number_or_auto(
      "train.reward_shift", "added to every reward first; auto = -1 for AntMaze, else 0",
      {-1e9, 1e9}, [](auto& c) -> auto& { return c.train.reward_shift; }));
  keys.push_back(integer(
      "train.log_every", "steps between two rows of metrics; 100 costs no speed", 1, 10'000'000'000,
      [](auto& c) -> auto& { return c.train.log_every; }));
  keys.push_back(choice<StepEngineKind>(
      "train.engine",
      "fused = gradients by hand, graph = the same as a CUDA graph; eager is the reference for "
      "both; "
      "auto = graph on a GPU, else fused",
      [](auto& c) -> auto& { return c.train.engine; }));

  // --- checkpoint ---
  keys.push_back(integer(
      "checkpoint.every",
      "steps between two checkpoints; 0 = only at step 0 and at the end, where "
      "one is always written",
      0, 10'000'000'000, [](auto& c) -> auto& { return c.checkpoint.every; }));
  keys.push_back(integer(
      "checkpoint.keep",
      "newest checkpoints kept, besides step 0; the protocol scores the last 6 "
      "(Appendix D)",
      1, 1'000'000, [](auto& c) -> auto& { return c.checkpoint.keep; }));

  // --- search ---
  keys.push_back(rule_list(
      "search.rules", "rules of deployment; all four of Section 5",
      [](auto& c) -> auto& { return c.search.rules; }));
  keys.push_back(integer(
      "search.ascent_steps", "K; 100 in the paper's experiments", 0, 1'000'000,
      [](auto& c) -> auto& { return c.search.ascent_steps; }));
  keys.push_back(number(
      "search.ascent_step_size",
      "alpha, on the gradient of scores of order 1; the paper gives none", {0, 1e6, true, false},
      [](auto& c) -> auto& { return c.search.ascent_step_size; }));
  keys.push_back(toggle(
      "search.clip",
      "keep z inside the box that training covered; outside of it scores mean "
      "nothing",
      [](auto& c) -> auto& { return c.search.clip; }));
  keys.push_back(toggle(
      "search.normalise_gradient",
      "steps of length alpha instead of alpha * gradient; off is the paper's "
      "form",
      [](auto& c) -> auto& { return c.search.normalise_gradient; }));
  keys.push_back(toggle(
      "search.keep_best_iterate",
      "answer with the best of all K + 1 iterates; off (the last) is the "
      "paper's form",
      [](auto& c) -> auto& { return c.search.keep_best_iterate; }));
  keys.push_back(toggle(
      "search.sample", "draw actions from the policy; off acts by its mean, without noise",
      [](auto& c) -> auto& { return c.search.sample; }));
  keys.push_back(choice<StartKind>(
      "search.starts", "cvae only: starting points from the prior, or encodings of data states",
      [](auto& c) -> auto& { return c.search.starts; }));
  keys.push_back(choice<AscentEngineKind>(
      "search.engine",
      "cpu, cuda = gradients by hand; autograd is the reference for both; auto = what the device "
      "is",
      [](auto& c) -> auto& { return c.search.engine; }));

  // --- eval ---
  keys.push_back(integer(
      "eval.every", "training steps between two evaluations; 0 = never, not even at the end", 0,
      10'000'000'000, [](auto& c) -> auto& { return c.eval.every; }));
  keys.push_back(integer(
      "eval.episodes", "episodes for each checkpoint and rule; 10 in Appendix D", 1, 1'000'000,
      [](auto& c) -> auto& { return c.eval.episodes; }));
  keys.push_back(rule_list(
      "eval.rules", "rules on the way; these two need no ascent and are cheap",
      [](auto& c) -> auto& { return c.eval.rules; }));
  keys.push_back(integer(
      "eval.seed",
      "seed of the episodes, apart from the run's, so that runs meet the same "
      "episodes",
      0, kMaxSeed, [](auto& c) -> auto& { return c.eval.seed; }));
  return keys;
}

}  // namespace

std::span<const Section> schema_sections() {
  static const std::vector<Section> sections = {
      {"", "the run"},
      {"decomposition", "how the data set is cut into sub-tasks (paper, Sections 3.1 and C.2)"},
      {"model", "networks (paper, Figure 9 and Table 7)"},
      {"train", "training (paper, Algorithm 1)"},
      {"checkpoint", "what is stored"},
      {"search", "embedding inference at deployment (paper, Section 5 and Algorithm 2)"},
      {"eval", "evaluation on the way"}};
  return sections;
}

std::span<const Key> schema_keys() {
  static const std::vector<Key> keys = make_keys();
  return keys;
}

const Key* find_key(const std::string& path) {
  for (const Key& key : schema_keys()) {
    if (key.path == path) return &key;
  }
  return nullptr;
}

std::string section_of(const std::string& path) {
  const size_t dot = path.find('.');
  return dot == std::string::npos ? "" : path.substr(0, dot);
}

std::string leaf_of(const std::string& path) {
  const size_t dot = path.find('.');
  return dot == std::string::npos ? path : path.substr(dot + 1);
}

}  // namespace drop
