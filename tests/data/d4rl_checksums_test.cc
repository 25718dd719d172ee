#include "drop/data/d4rl_checksums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "drop/base/files.h"
#include "drop/base/sha256.h"
#include "drop/data/dataset_id.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kFixture = testing::fixture("hopper_medium-v2.hdf5");

FileIdentity identity_of_fixture() { return {35952, sha256_of_file(kFixture)}; }

TEST(KnownIdentity, HoldsEveryRowOfTheGenuineTable) {
  const std::string table = testing::shared_data("d4rl_checksums.tsv");
  if (table.empty()) GTEST_SKIP() << "d4rl_checksums.tsv is not there";
  std::ifstream file(table);
  int rows = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string path, sha256;
    int64_t bytes = 0;
    fields >> path >> bytes >> sha256;
    const std::string name = std::filesystem::path(path).filename().string();
    EXPECT_EQ(known_identity(name).bytes, bytes) << path;
    EXPECT_EQ(known_identity(name).sha256, sha256) << path;
    EXPECT_EQ(url_path_of_dataset_id(dataset_id_of_file_name(name)), path);
    ++rows;
  }
  EXPECT_EQ(rows, 27);
}

TEST(KnownIdentity, IsWellFormedAndBelongsToKnownIds) {
  int known = 0;
  for (const std::string& id : known_dataset_ids()) {
    const FileIdentity identity = known_identity(file_name_of_dataset_id(id));
    EXPECT_EQ(identity.bytes > 0, !identity.sha256.empty()) << id;
    if (identity.bytes == 0) continue;
    EXPECT_EQ(identity.sha256.size(), 64u) << id;
    EXPECT_EQ(identity.sha256.find_first_not_of("0123456789abcdef"), std::string::npos) << id;
    ++known;
  }
  EXPECT_EQ(known, 29);
  // of the facts, not of the table
  EXPECT_EQ(known_identity("walker2d_full_replay-v2.hdf5").bytes, 285115514);
  EXPECT_EQ(known_identity("hopper_medium.hdf5").bytes, 0);
  EXPECT_EQ(known_identity("").sha256, "");
}

TEST(OtherUpload, IsKnownOfVersionTwoLocomotionOnly) {
  EXPECT_THAT(other_upload_remark("hopper_medium-v2.hdf5"), HasSubstr("two uploads"));
  for (const char* name :
       {"hopper_medium-v1.hdf5", "door-human-v1.hdf5", "other.hdf5",
        "Ant_maze_u-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5"}) {
    EXPECT_EQ(other_upload_remark(name), "") << name;
  }
}

TEST(CheckD4rlFile, TellsFourCasesApart) {
  const FileIdentity right = identity_of_fixture();
  FileCheck check = check_d4rl_file(kFixture, right);
  EXPECT_EQ(check.verdict, FileVerdict::kOk);
  EXPECT_EQ(check.found.bytes, right.bytes);
  EXPECT_EQ(check.found.sha256, right.sha256);
  EXPECT_GT(check.rows, 0);
  EXPECT_THAT(to_text(check), StartsWith("ok "));

  check = check_d4rl_file(kFixture, {});
  EXPECT_EQ(check.verdict, FileVerdict::kUnknown);
  EXPECT_THAT(to_text(check), StartsWith("unknown "));
  EXPECT_THAT(to_text(check), HasSubstr(right.sha256));
  EXPECT_THAT(to_text(check), HasSubstr("no known hash"));

  for (const FileIdentity& other :
       {FileIdentity{right.bytes, std::string(64, '0')},
        FileIdentity{right.bytes + 1, right.sha256}, FileIdentity{0, std::string(64, '0')},
        FileIdentity{right.bytes - 1, ""}}) {
    check = check_d4rl_file(kFixture, other);
    EXPECT_EQ(check.verdict, FileVerdict::kDiffers);
    EXPECT_THAT(to_text(check), StartsWith("differs "));
    EXPECT_THAT(to_text(check), HasSubstr("expected "));
    EXPECT_THAT(to_text(check), HasSubstr("two uploads"));
  }
}

TEST(CheckD4rlFile, ATruncatedFileShowsItsSize) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("hopper_medium-v2.hdf5");
  write_file_atomically(path, read_text_file(kFixture).substr(0, 20000));
  const FileCheck check = check_d4rl_file(path, identity_of_fixture());
  EXPECT_EQ(check.verdict, FileVerdict::kUnreadable);
  EXPECT_EQ(check.rows, 0);
  EXPECT_THAT(to_text(check), StartsWith("unreadable "));
  EXPECT_THAT(to_text(check), HasSubstr("found 20000 bytes"));
  EXPECT_THAT(to_text(check), HasSubstr("expected 35952 bytes"));
}

TEST(CheckD4rlFile, NothingAndAFolderAreUnreadable) {
  const testing::TemporaryFolder folder;
  for (const std::string& path : {folder.file("nothing.hdf5"), folder.path().string()}) {
    const FileCheck check = check_d4rl_file(path, identity_of_fixture());
    EXPECT_EQ(check.verdict, FileVerdict::kUnreadable);
    EXPECT_THAT(to_text(check), HasSubstr(path));
    EXPECT_THAT(to_text(check), ::testing::Not(HasSubstr("expected")));
  }
}

TEST(CheckD4rlFile, JsonHoldsTheSameFacts) {
  const std::vector<FileCheck> checks = {check_d4rl_file(kFixture, identity_of_fixture()),
                                         check_d4rl_file("no such file", {})};
  const auto json = nlohmann::json::parse(to_json(checks));
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["path"], kFixture);
  EXPECT_EQ(json[0]["verdict"], "ok");
  EXPECT_EQ(json[0]["found"]["bytes"], 35952);
  EXPECT_EQ(json[0]["found"]["sha256"], json[0]["expected"]["sha256"]);
  EXPECT_EQ(json[0]["rows"], checks[0].rows);
  EXPECT_EQ(json[1]["verdict"], "unreadable");
  EXPECT_TRUE(json[1]["expected"]["sha256"].is_null());
  EXPECT_THAT(json[1]["problem"].get<std::string>(), HasSubstr("no such file"));
}

}  // namespace
}  // namespace drop
