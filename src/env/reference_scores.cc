#include "drop/env/reference_scores.h"

#include <array>
#include <string_view>

#include "drop/data/dataset_id.h"
#include "env/dataset_version.h"

namespace drop {

namespace {

constexpr std::string_view kInfos = "d4rl/infos.py";
constexpr std::string_view kRegistration = "d4rl/pointmaze/__init__.py";

struct Entry {
  std::string_view task;
  std::string_view version;  // empty = the same in all versions
  double random;
  double expert;
  std::string_view source;
};

// D4RL facts, sections 5.1 to 5.3. Where versions differ, the newest comes first
constexpr auto kScores = std::to_array<Entry>({
    {"halfcheetah", "", -280.178953, 12135.0, kInfos},
    {"hopper", "", -20.272305, 3234.3, kInfos},
    {"walker2d", "", 1.629008, 4592.3, kInfos},
    {"ant", "", -325.6, 3879.7, kInfos},

    {"maze2d-open", "", 0.01, 20.66, kInfos},
    {"maze2d-open-dense", "", 11.17817, 27.166538620695782, kInfos},
    {"maze2d-umaze", "v1", 23.85, 161.86, kInfos},
    {"maze2d-umaze", "v0", 0.94, 62.6, kInfos},
    {"maze2d-umaze-dense", "v1", 68.537689, 193.66285642381482, kInfos},
    {"maze2d-umaze-dense", "v0", 23.249793, 81.78995240126592, kInfos},
    {"maze2d-medium", "v1", 13.13, 277.39, kInfos},
    {"maze2d-medium", "v0", 5.77, 85.14, kInfos},
    {"maze2d-medium-dense", "v1", 44.264742, 297.4552547777125, kInfos},
    {"maze2d-medium-dense", "v0", 19.477620, 96.03474232952358, kInfos},
    {"maze2d-large", "v1", 6.7, 273.99, kInfos},
    {"maze2d-large", "v0", 4.83, 191.99, kInfos},
    {"maze2d-large-dense", "v1", 30.569041, 303.4857382709002, kInfos},
    {"maze2d-large-dense", "v0", 27.388310, 215.09965671563742, kInfos},
    {"maze2d-eval-umaze", "", 36.63, 141.4, kRegistration},
    {"maze2d-eval-umaze-dense", "", 56.95455, 178.21373133248397, kRegistration},
    {"maze2d-eval-medium", "", 13.07, 204.93, kRegistration},
    {"maze2d-eval-medium-dense", "", 42.28578, 235.5658957482388, kRegistration},
    {"maze2d-eval-large", "", 16.4, 302.22, kRegistration},
    {"maze2d-eval-large-dense", "", 56.95455, 326.09647655082637, kRegistration},

    {"antmaze-umaze", "", 0.0, 1.0, kInfos},
    {"antmaze-umaze-diverse", "", 0.0, 1.0, kInfos},
    {"antmaze-medium-play", "", 0.0, 1.0, kInfos},
    {"antmaze-medium-diverse", "", 0.0, 1.0, kInfos},
    {"antmaze-large-play", "", 0.0, 1.0, kInfos},
    {"antmaze-large-diverse", "", 0.0, 1.0, kInfos},

    {"pen", "", 96.262799, 3076.8331017826877, kInfos},
    {"hammer", "", -274.856578, 12794.134825156867, kInfos},
    {"door", "", -56.512833, 2880.5693087298737, kInfos},
    {"relocate", "", -6.425911, 4233.877797728884, kInfos},

    {"kitchen", "", 0.0, 4.0, kInfos},
    {"kitchen-complete", "", 0.0, 4.0, kInfos},
    {"kitchen-partial", "", 0.0, 4.0, kInfos},
    {"kitchen-mixed", "", 0.0, 4.0, kInfos},
});

}  // namespace

std::optional<ReferenceScore> reference_score(const std::string& task,
                                              const std::string& dataset_id) {
  const std::string name = task.empty() ? task_of_dataset_id(dataset_id) : task;
  const std::string version = dataset_version(name, dataset_id);
  const Entry* found = nullptr;
  for (const Entry& entry : kScores) {
    if (entry.task != name) continue;
    // the version asked for, else the first = newest
    if (found == nullptr || entry.version == version) found = &entry;
  }
  if (found == nullptr) return std::nullopt;
  return ReferenceScore{found->random, found->expert, std::string(found->source)};
}

double normalised_score(double episode_return, const ReferenceScore& reference) {
  return 100.0 * (episode_return - reference.random) / (reference.expert - reference.random);
}

}  // namespace drop
