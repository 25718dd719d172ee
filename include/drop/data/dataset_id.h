#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "drop/data/trajectory_dataset.h"

namespace drop {

/// What a data set is called and where its file lies.
struct DatasetSource {
  std::string path;  ///< file to read
  std::string id;    ///< D4RL id ("hopper-medium-v2"), or the stem of a file of another name
  Family family = Family::kOther;
  std::string task;  ///< D4RL task without data kind and version ("hopper"), or empty
};

/// Finds a data set: an existing path, else a D4RL id looked up under its D4RL file name in
/// `$D4RL_DATASET_DIR` (default ~/.d4rl/datasets). A path whose file name is one of D4RL's is given
/// its id. `task` (may be empty) decides the family of a file of no known name.
/// Throws DataError when there is no such file (with the path looked for and the cure).
DatasetSource find_dataset(const std::string& dataset, const std::string& task = "");

/// "hopper-medium-v2" -> "hopper", "maze2d-umaze-dense-v1" -> "maze2d-umaze-dense",
/// "antmaze-large-play-v2" -> "antmaze-large-play", "door-human-v1" -> "door"; empty when unknown.
std::string task_of_dataset_id(const std::string& id);

/// Family of a task or data-set name by its first word; kOther when unknown.
Family family_of(const std::string& task_or_id);

/// D4RL's file name of an id, e.g. "hopper_medium-v2.hdf5"; empty when unknown.
std::string file_name_of_dataset_id(const std::string& id);

/// Where D4RL offers an id's file, below its base URL, e.g. "gym_mujoco_v2/hopper_medium-v2.hdf5"
/// (D4RL facts, section 5.4); empty when unknown.
std::string url_path_of_dataset_id(const std::string& id);

/// Every known id.
std::vector<std::string> known_dataset_ids();

/// " (did you mean 'hopper-medium-v2'?)", or empty when no known id is near.
std::string nearest_dataset_id_hint(const std::string& id);

/// Where D4RL keeps its files: `$D4RL_DATASET_DIR`, or ~/.d4rl/datasets.
std::filesystem::path dataset_folder();

/// D4RL's id of a file name (reverse of the above; for AntMaze and Adroit several ids share none).
std::string dataset_id_of_file_name(const std::string& file_name);

}  // namespace drop
