// drop_data: download, verify

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/workbench.h"
#include "support/http_server.h"

namespace drop {
namespace {

using testing::Arguments;
using ::testing::ElementsAre;
using testing::expect_done;
using testing::expect_refusal;
using testing::good_answer;
using ::testing::HasSubstr;
using testing::http_answer;
using testing::HttpReply;
using testing::HttpRequest;
using testing::HttpServer;
using ::testing::IsEmpty;
using testing::ProcessResult;
using ::testing::StartsWith;

constexpr const char* kName = "hopper_medium-v2.hdf5";

class DropDataDownload : public testing::Workbench {
 protected:
  Arguments command(const std::string& base_url, const Arguments& more) const {
    return testing::program(
        "drop_data", Arguments{"download", "--dir", file("data"), "--base-url", base_url} + more);
  }
  ProcessResult download(const std::string& base_url, const Arguments& more) const {
    return run_process(command(base_url, more));
  }
  static ProcessResult verify(const Arguments& arguments) {
    return testing::run_program("drop_data", Arguments{"verify", "--quiet"} + arguments);
  }
  std::vector<std::string> names() const { return testing::names_in(file("data")); }

  const std::string content_ = read_text_file(testing::fixture(kName));
  const std::string hash_ = sha256_of_file(testing::fixture(kName));
};

TEST_F(DropDataDownload, FetchesChecksAndSaysSo) {
  const HttpServer server(
      [&](const HttpRequest& request) { return HttpReply{good_answer(request, content_)}; });
  const Arguments ask = {"hopper-medium-v2", "--sha256", hash_};
  const ProcessResult first = download(server.url(), ask);
  expect_done(first);
  EXPECT_THAT(first.out, StartsWith("ok "));
  EXPECT_THAT(first.out, HasSubstr(file("data") + "/" + kName));
  EXPECT_THAT(first.err, HasSubstr("downloaded"));
  EXPECT_THAT(names(), ElementsAre(kName));
  EXPECT_EQ(server.requests().size(), 1u);

  // again, with the server in the environment and JSON alone on standard output
  const ProcessResult again = testing::run_program(
      "drop_data", Arguments{"download", "hopper-medium-v2", "--sha256", hash_, "--json", "-"},
      {.folder = "",
       .environment = {"D4RL_BASE_URL=" + server.url(), "D4RL_DATASET_DIR=" + file("data")}});
  expect_done(again);
  EXPECT_EQ(testing::Json::parse(again.out)[0]["verdict"], "ok");
  EXPECT_THAT(again.err, HasSubstr("is there already"));
  EXPECT_EQ(server.requests().size(), 1u);

  // quiet means quiet
  std::filesystem::remove_all(file("data"));
  const ProcessResult quiet = download(server.url(), ask + Arguments{"--quiet"});
  expect_done(quiet);
  EXPECT_EQ(quiet.err, "");
}

TEST_F(DropDataDownload, TheEnvironmentNamesServerAndFolder) {
  const HttpServer server(
      [&](const HttpRequest& request) { return HttpReply{good_answer(request, content_)}; });
  expect_done(testing::run_program(
      "drop_data", {"download", "maze2d-umaze-v1", "--quiet"},
      {.folder = "",
       .environment = {"D4RL_BASE_URL=" + server.url(), "D4RL_DATASET_DIR=" + file("data")}}));
  EXPECT_THAT(names(), ElementsAre("maze2d-umaze-sparse-v1.hdf5"));
  ASSERT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(server.requests()[0].path, "/maze2d/maze2d-umaze-sparse-v1.hdf5");
}

TEST_F(DropDataDownload, WarnsOfAnUnknownHashAndTellsIt) {
  const ProcessResult result =
      download(DROP_FIXTURES, {"maze2d-umaze-v1", "door-human-v1", "--allow-other-upload"});
  expect_done(result);
  EXPECT_THAT(result.out, StartsWith("unknown "));
  EXPECT_THAT(result.out, HasSubstr("\ndiffers "));
  EXPECT_THAT(result.out, HasSubstr(sha256_of_file(testing::fixture("door-human-v1.hdf5"))));
  EXPECT_THAT(result.err, HasSubstr("no hash of this file is known"));
  EXPECT_THAT(result.err, HasSubstr("not the known upload"));
  EXPECT_EQ(names().size(), 2u);
}

TEST_F(DropDataDownload, RefusalsHaveTheirExitStatus) {
  const auto refuse = [&](const std::string& base, const Arguments& more, int status,
                          const Arguments& parts) {
    expect_refusal(download(base, more + Arguments{"--quiet"}), "drop_data", status, parts);
    EXPECT_THAT(names(), IsEmpty());
  };
  const HttpServer missing(
      [](const HttpRequest&) { return HttpReply{http_answer("404 Not Found", {}, "")}; });
  refuse(missing.url(), {"hopper-medium-v2"}, 1, {missing.url(), "404", "--base-url"});
  refuse(DROP_FIXTURES, {"hopper-medium-v2"}, 3, {"35952", "152756557", "--allow-other-upload"});
  refuse(DROP_FIXTURES, {"hopper-medium-v2", "--sha256", std::string(64, 'A')}, 3,
         {hash_, std::string(64, 'a')});
  refuse(DROP_FIXTURES, {"hopper-expert-v2"}, 3, {"hopper_expert-v2.hdf5"});
  refuse(DROP_FIXTURES, {"hoper-medium-v2"}, 2, {"did you mean 'hopper-medium-v2'"});
  refuse(DROP_FIXTURES, {}, 2, {"--list"});
  refuse(DROP_FIXTURES, {"hopper-medium-v2", "--sha256", "abc"}, 2, {"64 hexadecimal"});
  refuse(DROP_FIXTURES, {"hopper-medium-v2", "hopper-expert-v2", "--sha256", hash_}, 2,
         {"--sha256", "one by one"});
  refuse(DROP_FIXTURES, {"hopper-medium-v2", "--sha256", hash_, "--allow-other-upload"}, 2,
         {"--allow-other-upload"});
  refuse(DROP_FIXTURES, {"maze2d-umaze-v1", "--max-bytes", "1KiB"}, 3, {"1024", "--max-bytes"});
  refuse(DROP_FIXTURES, {"hopper-medium-v2", "--timeout", "0"}, 2, {"--timeout"});
  refuse("gopher://127.0.0.1", {"hopper-medium-v2"}, 2, {"gopher", "http://"});
}

TEST_F(DropDataDownload, ControlCKeepsThePartAndTheNextTryGoesOn) {
  const HttpServer server([&](const HttpRequest& request) {
    if (request.headers.count("range") > 0) return HttpReply{good_answer(request, content_)};
    const std::string answer = good_answer(request, content_);
    return HttpReply{answer.substr(0, answer.size() - 20000), HttpReply::End::kStall};
  });
  const Arguments ask = {"hopper-medium-v2", "--sha256", hash_, "--quiet"};
  const std::string part = file("data") + "/" + kName + ".part";
  testing::Process process(command(server.url(), ask));
  EXPECT_TRUE(process.wait_until([&] {
    std::error_code missing;
    return std::filesystem::file_size(part, missing) == content_.size() - 20000;
  }));
  process.send(SIGINT);
  const ProcessResult stopped = process.wait();
  EXPECT_EQ(stopped.status, 130);
  EXPECT_EQ(testing::lines_of(stopped.err).size(), 1u) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("15952 of 35952 bytes are kept"));
  EXPECT_EQ(names().size(), 2u);

  expect_done(download(server.url(), ask));
  EXPECT_THAT(names(), ElementsAre(kName));
  ASSERT_EQ(server.requests().size(), 2u);
  EXPECT_EQ(server.requests()[1].headers.at("range"), "bytes=15952-");
}

TEST_F(DropDataDownload, ListPrintsTheKnownIds) {
  const ProcessResult list = testing::run_program("drop_data", {"download", "--list"});
  expect_done(list);
  const std::vector<std::string> lines = testing::lines_of(list.out);
  EXPECT_EQ(lines.size(), 132u);
  EXPECT_THAT(list.out, HasSubstr("145.7 MiB  known    gym_mujoco_v2/hopper_medium-v2.hdf5"));
  EXPECT_THAT(list.out, HasSubstr("?          unknown  maze2d/maze2d-umaze-sparse-v1.hdf5"));
}

TEST_F(DropDataDownload, VerifyTellsRightFromWrong) {
  const std::string unknown = testing::fixture("maze2d-umaze-sparse-v1.hdf5");
  const std::string other = testing::fixture(kName);
  const std::string broken = testing::fixture("broken_no_rewards.hdf5");

  ProcessResult result = verify({unknown});
  expect_done(result);
  EXPECT_THAT(result.out, StartsWith("unknown "));
  EXPECT_EQ(result.err, "");

  result = verify({unknown, other, broken, "hopper-expert-v2"});
  EXPECT_EQ(result.status, 3);
  const std::vector<std::string> lines = testing::lines_of(result.out);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_THAT(lines[1], StartsWith("differs "));
  EXPECT_THAT(lines[1], HasSubstr("two uploads"));
  EXPECT_THAT(lines[1], HasSubstr(hash_));
  EXPECT_THAT(lines[2], StartsWith("unreadable "));
  EXPECT_THAT(lines[3], StartsWith("unreadable "));
  EXPECT_EQ(testing::lines_of(result.err).size(), 1u) << result.err;
  EXPECT_THAT(result.err, HasSubstr("3 of 4 files"));

  expect_done(verify({other, "--allow-other-upload"}));
  EXPECT_EQ(verify({broken, "--allow-other-upload"}).status, 3);
  result = verify({other, "--json", "-"});
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(testing::Json::parse(result.out)[0]["verdict"], "differs");
  expect_refusal(verify({}), "drop_data", 2, {"FILE"});
}

TEST_F(DropDataDownload, VerifyKnowsTheGenuineFile) {
  const std::string genuine = testing::shared_data("door-v0_demos_clipped.hdf5");
  if (genuine.empty()) GTEST_SKIP() << "door-v0_demos_clipped.hdf5 is not there";
  const ProcessResult result = verify({genuine});
  expect_done(result);
  EXPECT_THAT(result.out, StartsWith("ok "));
  EXPECT_THAT(result.out, HasSubstr("6729 rows"));
  // and so does download, without a word about hashes
  const std::string folder = std::filesystem::path(genuine).parent_path();
  expect_done(download(folder, {"door-human-v0"}));
  EXPECT_THAT(names(), ElementsAre("door-v0_demos_clipped.hdf5"));
}

}  // namespace
}  // namespace drop
