#include "drop/data/dataset_id.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/text.h"

namespace drop {

namespace {

struct KnownDataset {
  std::string id;
  std::string url_path;  // below D4RL's base URL
  std::string task;

  std::string file_name() const { return url_path.substr(url_path.rfind('/') + 1); }
};

std::string with_underscores(std::string text) {
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

void add_locomotion(std::vector<KnownDataset>& known) {
  for (const std::string robot : {"halfcheetah", "hopper", "walker2d", "ant"}) {
    for (const std::string kind :
         {"random", "medium", "expert", "medium-replay", "full-replay", "medium-expert"}) {
      const std::string name = robot + "_" + with_underscores(kind);
      for (const std::string version : {"v1", "v2"}) {
        known.push_back({robot + "-" + kind + "-" + version,
                         "gym_mujoco_" + version + "/" + name + "-" + version + ".hdf5", robot});
      }
      // version 0: no full replay, and "mixed" is the old word for medium-replay
      if (kind == "full-replay") continue;
      const std::string old_robot = robot == "walker2d" ? "walker" : robot;
      const std::string old_name = kind == "medium-replay" ? old_robot + "_mixed" : name;
      known.push_back({robot + "-" + kind + "-v0", "gym_mujoco/" + old_name + ".hdf5", robot});
    }
  }
  known.push_back({"ant-random-expert-v0", "gym_mujoco/ant_random_expert.hdf5", "ant"});
}

void add_maze2d(std::vector<KnownDataset>& known) {
  for (const std::string reward : {"sparse", "dense"}) {
    const std::string suffix = reward == "dense" ? "-dense" : "";
    const auto add = [&](const std::string& maze, const std::string& version) {
      const std::string file_version = version == "-v0" ? "" : version;
      const std::string task = "maze2d-" + maze + suffix;
      known.push_back(
          {task + version, "maze2d/maze2d-" + maze + "-" + reward + file_version + ".hdf5", task});
    };
    add("open", "-v0");
    for (const std::string size : {"umaze", "medium", "large"}) {
      add(size, "-v0");
      add(size, "-v1");
      add("eval-" + size, "-v1");
    }
  }
}

void add_antmaze(std::vector<KnownDataset>& known) {
  struct Maze {
    std::string name, old_map, map, starts, goals;
  };
  const std::array<Maze, 6> mazes = {{{"umaze", "u-maze", "umaze", "False", "False"},
                                      {"umaze-diverse", "u-maze", "umaze", "True", "True"},
                                      {"medium-play", "big-maze", "medium", "True", "False"},
                                      {"medium-diverse", "big-maze", "medium", "True", "True"},
                                      {"large-play", "hardest-maze", "large", "True", "False"},
                                      {"large-diverse", "hardest-maze", "large", "True", "True"}}};
  for (const Maze& maze : mazes) {
    const std::string task = "antmaze-" + maze.name;
    const std::string rest =
        "_noisy_multistart_" + maze.starts + "_multigoal_" + maze.goals + "_sparse";
    const std::string old_name = "/Ant_maze_" + maze.old_map + rest;
    known.push_back({task + "-v0", "ant_maze_new" + old_name + ".hdf5", task});
    known.push_back({task + "-v1", "ant_maze_v1/Ant_maze_" + maze.map + rest + ".hdf5", task});
    known.push_back({task + "-v2", "ant_maze_v2" + old_name + "_fixed.hdf5", task});
  }
}

void add_adroit(std::vector<KnownDataset>& known) {
  for (const std::string task : {"pen", "hammer", "door", "relocate"}) {
    const std::string old_path = "hand_dapg/" + task;
    known.push_back({task + "-human-v0", old_path + "-v0_demos_clipped.hdf5", task});
    known.push_back({task + "-cloned-v0", old_path + "-demos-v0-bc-combined.hdf5", task});
    known.push_back({task + "-expert-v0", old_path + "-v0_expert_clipped.hdf5", task});
    for (const std::string kind : {"human", "cloned", "expert"}) {
      const std::string id = task + "-" + kind + "-v1";
      known.push_back({id, "hand_dapg_v1/" + id + ".hdf5", task});
    }
  }
}

// D4RL's data sets (D4RL facts 5.4)
const std::vector<KnownDataset>& known_datasets() {
  static const std::vector<KnownDataset> known = [] {
    std::vector<KnownDataset> all;
    add_locomotion(all);
    add_maze2d(all);
    add_antmaze(all);
    add_adroit(all);
    return all;
  }();
  return known;
}

const KnownDataset* find_by_id(const std::string& id) {
  for (const KnownDataset& dataset : known_datasets()) {
    if (dataset.id == id) return &dataset;
  }
  return nullptr;
}

bool looks_like_path(const std::string& text) {
  return text.find('/') != std::string::npos || text.ends_with(".hdf5") || text.ends_with(".h5");
}

DatasetSource describe(const std::string& path, const std::string& id, const std::string& task) {
  DatasetSource source;
  source.path = path;
  source.id = id;
  source.task = task.empty() ? task_of_dataset_id(id) : task;
  source.family = family_of(task.empty() ? id : task);
  return source;
}

}  // namespace

Family family_of(const std::string& task_or_id) {
  // words are split at '-' and '_'
  std::vector<std::string> words(1);
  for (const char letter : task_or_id) {
    if (letter == '-' || letter == '_') {
      words.emplace_back();
    } else {
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    }
  }
  const std::string& first = words.front();
  if (first == "antmaze" || (first == "ant" && words.size() > 1 && words[1] == "maze")) {
    return Family::kAntMaze;
  }
  for (const char* robot : {"halfcheetah", "hopper", "walker2d", "walker", "ant"}) {
    if (first == robot) return Family::kLocomotion;
  }
  if (first == "maze2d") return Family::kMaze2d;
  for (const char* hand : {"pen", "hammer", "door", "relocate"}) {
    if (first == hand) return Family::kAdroit;
  }
  return Family::kOther;
}

std::string task_of_dataset_id(const std::string& id) {
  const KnownDataset* dataset = find_by_id(id);
  return dataset != nullptr ? dataset->task : "";
}

std::string file_name_of_dataset_id(const std::string& id) {
  const KnownDataset* dataset = find_by_id(id);
  return dataset != nullptr ? dataset->file_name() : "";
}

std::string url_path_of_dataset_id(const std::string& id) {
  const KnownDataset* dataset = find_by_id(id);
  return dataset != nullptr ? dataset->url_path : "";
}

std::vector<std::string> known_dataset_ids() {
  std::vector<std::string> ids;
  for (const KnownDataset& dataset : known_datasets()) ids.push_back(dataset.id);
  return ids;
}

std::string nearest_dataset_id_hint(const std::string& id) {
  const std::string nearest = nearest_name(id, known_dataset_ids());
  return nearest.empty() ? "" : " (did you mean '" + nearest + "'?)";
}

std::filesystem::path dataset_folder() {
  const char* folder = std::getenv("D4RL_DATASET_DIR");
  if (folder != nullptr && *folder != '\0') return folder;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : ".") / ".d4rl" / "datasets";
}

std::string dataset_id_of_file_name(const std::string& file_name) {
  for (const KnownDataset& dataset : known_datasets()) {
    if (dataset.file_name() == file_name) return dataset.id;
  }
  return "";
}

DatasetSource find_dataset(const std::string& dataset, const std::string& task) {
  if (dataset.empty()) {
    throw DataError(
        "no data set is given; give the path of an HDF5 file or a D4RL id such as "
        "hopper-medium-v2");
  }
  // a path comes first, but a folder must not hide the id of the same name
  std::error_code ignored;
  const bool names_id = find_by_id(dataset) != nullptr;
  if (std::filesystem::is_regular_file(dataset, ignored) ||
      (!names_id && std::filesystem::exists(dataset, ignored))) {
    const std::filesystem::path path(dataset);
    const std::string id = dataset_id_of_file_name(path.filename().string());
    return describe(dataset, id.empty() ? path.stem().string() : id, task);
  }
  if (const KnownDataset* known = find_by_id(dataset)) {
    const std::filesystem::path path = dataset_folder() / known->file_name();
    if (std::filesystem::exists(path, ignored)) return describe(path.string(), known->id, task);
    throw DataError(
        "data set '" + dataset + "': there is no file " + path.string() +
        "; fetch it with drop_data download, set D4RL_DATASET_DIR to its folder, or give "
        "its path");
  }
  if (looks_like_path(dataset)) {
    throw DataError(dataset +
                    ": there is no such file; give the path of an HDF5 file or a D4RL id "
                    "such as hopper-medium-v2");
  }
  // neither: perhaps a slip of the pen
  throw DataError("data set '" + dataset + "': there is no file of this name and it is no D4RL id" +
                  nearest_dataset_id_hint(dataset) +
                  "; give the path of an HDF5 file or a D4RL id such as hopper-medium-v2");
}

}  // namespace drop
