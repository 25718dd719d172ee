#include "drop/data/d4rl_checksums.h"

#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string_view>

#include "drop/base/error.h"
#include "drop/base/json.h"
#include "drop/base/sha256.h"
#include "drop/data/d4rl_file.h"
#include "drop/data/dataset_id.h"

namespace drop {

namespace {

struct KnownFile {
  std::string_view name;
  int64_t bytes;
  std::string_view sha256;
};

// one upload each (D4RL facts, section 5.5)
constexpr KnownFile kKnownFiles[] = {
    {"Ant_maze_big-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5", 231095166,
     "ad9dcbac05d1f8744a7a216083f513662f43f64f28a4a5eb225e9811902dfae7"},
    {"Ant_maze_hardest-maze_noisy_multistart_True_multigoal_False_sparse_fixed.hdf5", 230880653,
     "6d353df2457829925d7f9d4b0215587469908bd57478ea76f16417cfa944f471"},
    {"Ant_maze_hardest-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5", 231183710,
     "84f775eb7956ea9cc766704710dc520a8ab357adc7522ade47f556f0e335e284"},
    {"Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5", 232532949,
     "5ef15257771c50ef4d23c7de001750e96c8bb5d9b6a5e4a821dcfb3065fbd130"},
    {"Ant_maze_u-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5", 230854272,
     "c771dd63963cd7d9f55f24a6d809064f6b82250a6aeac4c9d13f9a1d06e8c932"},
    {"door-human-v1.hdf5", 3121206,
     "f9691288c3ddf2b4e7b31bdae0d8444b80ba035515495f8a902d60c43ee09370"},
    {"door-v0_demos_clipped.hdf5", 3118318,
     "9df6345e28fcec8f44c0af4d6dacc6ef996958b39b568f53df85cf41dd03412b"},
    {"halfcheetah_expert-v2.hdf5", 237464597,
     "d9fe53bb994eb1e20a99b4fa3412cd76a1bb7966a7ff55e0fcbdd6081bd2965f"},
    {"halfcheetah_full_replay-v2.hdf5", 291381762,
     "27fdf7ea86e5a2cbd24d611ae9e703c86ec2e8e52823abc69dd9af6afb3a36c0"},
    {"halfcheetah_medium-v2.hdf5", 237727262,
     "41324e8487a9556d8cfa4538827f8937f4d63dae3030825ebc9f3a726ed08ca0"},
    {"halfcheetah_medium_expert-v2.hdf5", 474567252,
     "015db75dae5bbe8e94029b71fa0bafc2073365df0c94744e71031189f3f79c06"},
    {"halfcheetah_medium_replay-v2.hdf5", 59448533,
     "48d494a4770c11f48260736dec090b78bdca8375647ed4d24bfa5b6610c7f683"},
    {"halfcheetah_random-v2.hdf5", 237338037,
     "25407aef85b5d16c0f36b4149341edb4acc6a9e88c1db529b2de19e7464874ba"},
    {"hammer-human-v1.hdf5", 5606475,
     "3e42f3f49b5c92a901601dfe867c6c62a9651cbe79f6760ec8b402a15816a498"},
    {"hammer-v0_demos_clipped.hdf5", 5585672,
     "96bbad34845982807057d931956b0007b267b75ffef6caacbaa45b1544bf68d5"},
    {"hopper_expert-v2.hdf5", 152427435,
     "01aa219a5f8eea5e639eccdc636ec2bf40e317159a95cf4bf6e985f16909941b"},
    {"hopper_full_replay-v2.hdf5", 187998921,
     "56baf95963c51c1e964049a974566c50ba80f289390565523e60c0ba83e0982e"},
    {"hopper_medium-v2.hdf5", 152756557,
     "5bdf1bc4a713c82941de44633df669b36c89850b652a25985166796d25cf71a0"},
    {"hopper_medium_expert-v2.hdf5", 304537315,
     "9d51ad87f8c905be3880d84c6140bcdb7fbf39a19e046a237f238ba34fec9e26"},
    {"hopper_medium_replay-v2.hdf5", 75854457,
     "e121c5f7c9857a307baa9edc6a2c3b48e85fedb9ac316ecddd0f48ca7ef4e39b"},
    {"hopper_random-v2.hdf5", 152525345,
     "63103ef7059db4c0819bd054f4e83ff339030b50bcdb46bdbe50385f234b5054"},
    {"pen-human-v1.hdf5", 2040573,
     "209e345b2150b633f30a11612612c60f49e941f127ce6c4dc0cd790501c46f9f"},
    {"pen-v0_demos_clipped.hdf5", 2037685,
     "64103c05d3b33b4cc0591db187396a4da58f87b707db99401d8f994cb91a7a4d"},
    {"walker2d_expert-v2.hdf5", 230567195,
     "2985dc3d436a8baa10e8f43f946fe1d7c6337a4e4fbc65def70618093b18c59a"},
    {"walker2d_full_replay-v2.hdf5", 285115514,
     "f2720f9d27b2acef6ec9a7d9ad3b80b6c2078ad4467cee668a81e3b3c80bcf2a"},
    {"walker2d_medium-v2.hdf5", 232254996,
     "cf00f43add04c17fdfc2958dd581dea0851b2e5bedbe6fda073758a8f841aeda"},
    {"walker2d_medium_expert-v2.hdf5", 462197079,
     "6b8d7f868c45bbaedf460be797fb7271b46dee6ebe45fe7a64319f2005b59a04"},
    {"walker2d_medium_replay-v2.hdf5", 86323963,
     "e75de96a4f77acf7d4e0d6fdf0d7ccb177c26c44bb4388e4fd99f543ccfa18db"},
    {"walker2d_random-v2.hdf5", 216109364,
     "4e863bb6090cf4a461548bd470564b32f1ae5b32ef3085f816b2ede7f092e7fa"},
};

nlohmann::ordered_json json_of(const FileIdentity& identity) {
  nlohmann::ordered_json json;
  json["bytes"] = identity.bytes > 0 ? nlohmann::ordered_json(identity.bytes) : nullptr;
  json["sha256"] = identity.sha256.empty() ? nullptr : nlohmann::ordered_json(identity.sha256);
  return json;
}

bool same(const FileIdentity& found, const FileIdentity& expected) {
  return (expected.bytes == 0 || found.bytes == expected.bytes) &&
         (expected.sha256.empty() || found.sha256 == expected.sha256);
}

std::string text_of(const FileIdentity& identity) {
  std::string text = identity.bytes > 0 ? std::to_string(identity.bytes) + " bytes" : "";
  if (!identity.sha256.empty()) text += (text.empty() ? "" : ", ") + ("sha256 " + identity.sha256);
  return text;
}

}  // namespace

FileIdentity known_identity(const std::string& file_name) {
  for (const KnownFile& file : kKnownFiles) {
    if (file.name == file_name) return {file.bytes, std::string(file.sha256)};
  }
  return {};
}

std::string other_upload_remark(const std::string& file_name) {
  const std::string id = dataset_id_of_file_name(file_name);
  if (!id.ends_with("-v2") || family_of(id) != Family::kLocomotion) return "";
  return "; D4RL has offered two uploads of its v2 locomotion files and the hash of one is known, "
         "so this may be the other";
}

std::string to_string(FileVerdict verdict) {
  switch (verdict) {
    case FileVerdict::kOk:
      return "ok";
    case FileVerdict::kUnknown:
      return "unknown";
    case FileVerdict::kDiffers:
      return "differs";
    case FileVerdict::kUnreadable:
      break;
  }
  return "unreadable";
}

FileCheck check_d4rl_file(const std::string& path, const FileIdentity& expected) {
  FileCheck check;
  check.path = path;
  check.expected = expected;
  try {
    // size and hash of a damaged file are of use as well
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored)) {
      check.found.bytes = static_cast<int64_t>(std::filesystem::file_size(path, ignored));
      check.found.sha256 = sha256_of_file(path);
    }
    // one at a time: a file is first looked at in a forked child, and one that is forked while
    // another thread is inside HDF5 may have to be given up and made anew (crash_guard.h)
    static std::mutex one_at_a_time;
    const std::lock_guard lock(one_at_a_time);
    check.rows = inspect_d4rl_file(path).rows;
  } catch (const DataError& error) {
    check.problem = error.what();
    return check;
  }
  if (!same(check.found, expected)) {
    check.verdict = FileVerdict::kDiffers;
    check.remark = other_upload_remark(std::filesystem::path(path).filename().string());
  } else {
    check.verdict = expected.sha256.empty() ? FileVerdict::kUnknown : FileVerdict::kOk;
  }
  return check;
}

std::string to_text(const FileCheck& check) {
  std::string text = to_string(check.verdict);
  text.resize(12, ' ');
  if (check.verdict == FileVerdict::kUnreadable) {
    text += check.problem;
    if (check.found.bytes > 0) text += "; found " + text_of(check.found);
  } else {
    text += check.path + ": " + text_of(check.found) + ", " + std::to_string(check.rows) + " rows";
  }
  if (check.found.bytes > 0 && !same(check.found, check.expected)) {
    text += "; expected " + text_of(check.expected) + check.remark;
  } else if (check.verdict == FileVerdict::kUnknown) {
    text += "; there is no known hash to compare it with";
  }
  return text;
}

std::string to_json(std::span<const FileCheck> checks) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const FileCheck& check : checks) {
    nlohmann::ordered_json json;
    json["path"] = check.path;
    json["verdict"] = to_string(check.verdict);
    json["found"] = json_of(check.found);
    json["expected"] = json_of(check.expected);
    json["rows"] = check.rows;
    json["problem"] = check.problem;
    list.push_back(json);
  }
  return json_text(list);
}

}  // namespace drop
