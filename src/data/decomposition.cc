#include "drop/data/decomposition.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "drop/base/error.h"
#include "drop/base/json.h"
#include "drop/base/random.h"
#include "drop/base/text.h"

namespace drop {

namespace {

using Groups = std::vector<std::vector<int64_t>>;

constexpr const char* kStreamName = "decomposition";
constexpr double kLargestReturn = 1e300;  // the widths of ten million bins of these are finite

std::vector<int64_t> all_indices(size_t count) {
  std::vector<int64_t> indices(count);
  std::iota(indices.begin(), indices.end(), int64_t{0});
  return indices;
}

// moves `count` elements, drawn without replacement, to the front (partial Fisher-Yates)
void draw_to_front(std::vector<int64_t>& items, size_t count, RandomStream& rng) {
  for (size_t index = 0; index < count; ++index) {
    std::swap(items[index], items[index + rng.below(items.size() - index)]);
  }
}

// consecutive groups of at most `size`, at most `count` of them
Groups cut(const std::vector<int64_t>& order, int64_t count, int64_t size) {
  Groups groups;
  auto begin = order.begin();
  while (begin != order.end() && static_cast<int64_t>(groups.size()) < count) {
    const auto end = begin + std::min<int64_t>(size, order.end() - begin);
    groups.emplace_back(begin, end);
    begin = end;
  }
  return groups;
}

/// Rank(N, M): the best M trajectories, the next M, and so on.
class RankRule : public DecompositionRule {
 public:
  DecompositionKind kind() const override { return DecompositionKind::kRank; }
  Groups group(std::span<const double> returns, int64_t num_subtasks, int64_t max_trajectories,
               uint64_t) const override {
    std::vector<int64_t> order = all_indices(returns.size());
    // stable: ties keep file order
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return returns[static_cast<size_t>(a)] > returns[static_cast<size_t>(b)];
    });
    return cut(order, num_subtasks, max_trajectories);
  }
};

/// Quantization(N, M): N bins of equal width over the returns, at most M drawn from each.
class QuantizationRule : public DecompositionRule {
 public:
  DecompositionKind kind() const override { return DecompositionKind::kQuantization; }
  Groups group(std::span<const double> returns, int64_t num_subtasks, int64_t max_trajectories,
               uint64_t seed) const override {
    if (returns.empty()) return {};
    const auto [low, high] = std::minmax_element(returns.begin(), returns.end());
    std::map<int64_t, std::vector<int64_t>> bins;
    for (size_t index = 0; index < returns.size(); ++index) {
      bins[bin_of(returns[index], *low, *high, num_subtasks)].push_back(
          static_cast<int64_t>(index));
    }
    // each bin draws from its own substream, so that no bin depends on another
    Groups groups;
    for (auto& [bin, members] : bins) {
      if (static_cast<int64_t>(members.size()) > max_trajectories) {
        RandomStream rng(seed, kStreamName, static_cast<uint64_t>(bin));
        draw_to_front(members, static_cast<size_t>(max_trajectories), rng);
        members.resize(static_cast<size_t>(max_trajectories));
        std::sort(members.begin(), members.end());
      }
      groups.push_back(std::move(members));
    }
    return groups;
  }

 private:
  // bin k holds returns in (edge k, edge k + 1]; the smallest return belongs to bin 0
  static int64_t bin_of(double value, double low, double high, int64_t bins) {
    const double range = high - low;
    if (!(range > 0.0)) return 0;
    const auto upper_edge = [&](int64_t bin) {
      return low + range * static_cast<double>(bin + 1) / static_cast<double>(bins);
    };
    const double guess = std::ceil((value - low) / range * static_cast<double>(bins)) - 1.0;
    int64_t bin = std::clamp<int64_t>(static_cast<int64_t>(guess), 0, bins - 1);
    // rounding may have put the guess beside the edge that was meant
    while (bin > 0 && value <= upper_edge(bin - 1)) --bin;
    while (bin + 1 < bins && value > upper_edge(bin)) ++bin;
    return bin;
  }
};

/// Random(N, M): N subsets of at most M, drawn without replacement over the whole split.
class RandomRule : public DecompositionRule {
 public:
  DecompositionKind kind() const override { return DecompositionKind::kRandom; }
  Groups group(std::span<const double> returns, int64_t num_subtasks, int64_t max_trajectories,
               uint64_t seed) const override {
    std::vector<int64_t> order = all_indices(returns.size());
    RandomStream rng(seed, kStreamName);
    draw_to_front(order, order.size(), rng);
    Groups groups = cut(order, num_subtasks, max_trajectories);
    for (auto& group : groups) std::sort(group.begin(), group.end());
    return groups;
  }
};

/// Every trajectory is its own sub-task, in file order.
class TrajectoryRule : public DecompositionRule {
 public:
  DecompositionKind kind() const override { return DecompositionKind::kTrajectory; }
  Groups group(std::span<const double> returns, int64_t, int64_t, uint64_t) const override {
    return cut(all_indices(returns.size()), std::numeric_limits<int64_t>::max(), 1);
  }
};

Subtask summarise(std::vector<int64_t> trajectories, std::span<const double> returns,
                  std::span<const int64_t> transitions) {
  Subtask subtask;
  subtask.return_min = std::numeric_limits<double>::infinity();
  subtask.return_max = -std::numeric_limits<double>::infinity();
  for (const int64_t index : trajectories) {
    const double value = returns[static_cast<size_t>(index)];
    subtask.return_mean += value;
    subtask.return_min = std::min(subtask.return_min, value);
    subtask.return_max = std::max(subtask.return_max, value);
    subtask.transitions += transitions[static_cast<size_t>(index)];
  }
  subtask.return_mean /= static_cast<double>(trajectories.size());
  subtask.trajectories = std::move(trajectories);
  return subtask;
}

}  // namespace

std::unique_ptr<DecompositionRule> make_decomposition_rule(DecompositionKind kind) {
  switch (kind) {
    case DecompositionKind::kRank:
      return std::make_unique<RankRule>();
    case DecompositionKind::kQuantization:
      return std::make_unique<QuantizationRule>();
    case DecompositionKind::kRandom:
      return std::make_unique<RandomRule>();
    case DecompositionKind::kTrajectory:
      break;
  }
  return std::make_unique<TrajectoryRule>();
}

Decomposition decompose(const DecompositionConfig& config, std::span<const double> returns,
                        std::span<const int64_t> transitions, uint64_t seed) {
  const int64_t wanted = config.num_subtasks;
  const int64_t size = config.trajectories_per_subtask;
  if (wanted < 1 || size < 1) {
    throw UsageError("decomposition: num_subtasks is " + std::to_string(wanted) +
                     " and trajectories_per_subtask is " + std::to_string(size) +
                     "; both must be at least 1");
  }
  if (returns.size() != transitions.size()) {
    throw RunError("decomposition: " + std::to_string(returns.size()) + " returns but " +
                   std::to_string(transitions.size()) + " transition counts");
  }
  if (returns.empty()) {
    throw DataError(
        "decomposition: the data set has no finished trajectory; check how its episodes end "
        "(`drop_data inspect`), or set decomposition.keep_unfinished to use the unfinished one");
  }
  for (size_t index = 0; index < returns.size(); ++index) {
    if (!(std::abs(returns[index]) <= kLargestReturn)) {
      throw DataError("decomposition: trajectory " + std::to_string(index) + " has the return " +
                      shortest(returns[index]) + "; allowed are finite returns up to " +
                      shortest(kLargestReturn) + "; `drop_data inspect` lists the rows to mend");
    }
  }

  Decomposition result;
  result.rule = config.rule;
  result.seed = seed;
  result.requested_subtasks = wanted;
  result.trajectories_per_subtask = size;
  int64_t without_transition = 0;
  for (auto& group : make_decomposition_rule(config.rule)->group(returns, wanted, size, seed)) {
    if (group.empty()) continue;
    Subtask subtask = summarise(std::move(group), returns, transitions);
    if (subtask.transitions > 0) {
      result.subtasks.push_back(std::move(subtask));
    } else {
      ++without_transition;
    }
  }

  // say what is missing
  const int64_t filled = result.num_subtasks() + without_transition;
  if (config.rule == DecompositionKind::kTrajectory) {
    result.requested_subtasks = static_cast<int64_t>(returns.size());
    result.trajectories_per_subtask = 1;
  } else if (filled < wanted) {
    const std::string reason =
        config.rule == DecompositionKind::kQuantization
            ? "the other bins of returns are empty; later sub-tasks are renumbered"
            : "there are only " + std::to_string(returns.size()) + " trajectories for " +
                  std::to_string(size) + " in each";
    result.warnings.push_back("decomposition: " + std::to_string(wanted) +
                              " sub-tasks were asked for, " + std::to_string(filled) +
                              " can be filled: " + reason);
  }
  if (without_transition > 0) {
    result.warnings.push_back("decomposition: " + std::to_string(without_transition) +
                              " sub-tasks have no drawable transition (one-step trajectories "
                              "without a terminal) and are dropped; " +
                              std::to_string(result.num_subtasks()) + " are left, renumbered");
  }
  if (result.subtasks.empty()) {
    throw DataError("decomposition: none of " + std::to_string(returns.size()) +
                    " trajectories has a drawable transition; trajectories need two rows or a "
                    "terminal; check how episodes end (`drop_data inspect`)");
  }
  return result;
}

std::string to_json(const Decomposition& decomposition) {
  nlohmann::ordered_json json;
  json["rule"] = to_string(decomposition.rule);
  json["num_subtasks"] = decomposition.num_subtasks();
  json["requested_subtasks"] = decomposition.requested_subtasks;
  json["trajectories_per_subtask"] = decomposition.trajectories_per_subtask;
  json["seed"] = decomposition.seed;
  json["warnings"] = decomposition.warnings;
  json["subtasks"] = nlohmann::ordered_json::array();
  for (int64_t index = 0; index < decomposition.num_subtasks(); ++index) {
    const Subtask& subtask = decomposition.subtasks[static_cast<size_t>(index)];
    json["subtasks"].push_back({{"subtask", index},
                                {"trajectories", subtask.trajectories},
                                {"return_mean", subtask.return_mean},
                                {"return_min", subtask.return_min},
                                {"return_max", subtask.return_max},
                                {"transitions", subtask.transitions}});
  }
  return json_text(json);
}

}  // namespace drop
