#include "drop/data/download.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <future>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/sha256.h"
#include "drop/base/signals.h"
#include "drop/log/logging.h"
#include "support/http_server.h"
#include "support/paths.h"

namespace drop {
namespace {

using testing::content_length;
using ::testing::ElementsAre;
using testing::good_answer;
using ::testing::HasSubstr;
using testing::http_answer;
using testing::HttpReply;
using testing::HttpRequest;
using testing::HttpServer;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr const char* kId = "hopper-medium-v2";
constexpr const char* kName = "hopper_medium-v2.hdf5";
constexpr const char* kPart = "hopper_medium-v2.hdf5.part";
constexpr const char* kSidecar = "hopper_medium-v2.hdf5.part.json";
constexpr size_t kCut = 10000;

std::string hash_of(const std::string& bytes) {
  return sha256_hex(std::as_bytes(std::span(bytes)));
}

// a server that answers the first request, the second one, ... ; the last answer stays
class Script {
 public:
  explicit Script(std::vector<HttpServer::Handler> steps) : steps_(std::move(steps)) {}
  HttpReply operator()(const HttpRequest& request) {
    const size_t step = std::min(next_++, steps_.size() - 1);
    return steps_[step](request);
  }

 private:
  std::vector<HttpServer::Handler> steps_;
  size_t next_ = 0;
};

class DownloadTest : public ::testing::Test {
 protected:
  DownloadTest() { configure_logging("info", /*quiet=*/true); }

  // ---- answers ---------------------------------------------------------------------------------

  HttpServer::Handler always(const std::string& bytes,
                             HttpReply::End end = HttpReply::End::kClose) const {
    return [=](const HttpRequest&) { return HttpReply{bytes, end}; };
  }
  HttpServer::Handler good() const {
    return [this](const HttpRequest& request) { return HttpReply{good_answer(request, content_)}; };
  }
  // announces the whole file and sends its first bytes
  HttpServer::Handler cut(HttpReply::End end = HttpReply::End::kClose) const {
    return always(http_answer("200 OK", {"ETag: \"one\"", content_length(content_)},
                              content_.substr(0, kCut)),
                  end);
  }

  // ---- requests --------------------------------------------------------------------------------

  DownloadOptions options(const std::string& base_url) const {
    DownloadOptions options;
    options.base_url = base_url;
    options.folder = folder_.path() / "data";
    options.expected = FileIdentity{static_cast<int64_t>(content_.size()), hash_of(content_)};
    options.quiet = true;
    return options;
  }
  // as for a file of which nothing is known
  DownloadOptions unknown_options(const std::string& base_url) const {
    DownloadOptions result = options(base_url);
    result.expected = FileIdentity{};
    return result;
  }

  template <class Kind>
  static std::string error_of(const DownloadOptions& options, const std::string& id = kId) {
    try {
      download_dataset(id, options);
    } catch (const Kind& error) {
      const std::string text = error.what();
      EXPECT_EQ(text.find('\n'), std::string::npos) << text;
      return text;
    } catch (const std::exception& other) {
      return std::string("another kind of error: ") + other.what();
    }
    return "no error";
  }

  // ---- what is in the folder -------------------------------------------------------------------

  std::string file(const std::string& name) const { return folder_.file("data/" + name); }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    std::error_code missing;
    for (const auto& entry :
         std::filesystem::directory_iterator(folder_.path() / "data", missing)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }
  void expect_only_the_right_file() const {
    EXPECT_THAT(names(), ElementsAre(kName));
    EXPECT_EQ(hash_of(read_text_file(file(kName))), hash_of(content_));
  }
  // nothing under the final name, and the first bytes are kept
  void expect_part(size_t bytes = kCut) const {
    EXPECT_THAT(names(), UnorderedElementsAre(kPart, kSidecar));
    EXPECT_EQ(hash_of(read_text_file(file(kPart))), hash_of(content_.substr(0, bytes)));
  }

  const std::string content_ = read_text_file(testing::fixture(kName));
  testing::TemporaryFolder folder_;
};

// ---- a good server ------------------------------------------------------------------------------

TEST_F(DownloadTest, FetchesChecksAndLeavesOnlyTheFile) {
  const HttpServer server(good());
  const Download download = download_dataset(kId, options(server.url()));
  expect_only_the_right_file();
  EXPECT_EQ(download.check.verdict, FileVerdict::kOk);
  EXPECT_EQ(download.check.path, file(kName));
  EXPECT_FALSE(download.already_there);
  EXPECT_EQ(download.resumed_at, 0);
  ASSERT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(server.requests()[0].path, "/gym_mujoco_v2/hopper_medium-v2.hdf5");
  EXPECT_EQ(server.requests()[0].headers.count("range"), 0u);
}

TEST_F(DownloadTest, TheRightFileIsNotFetchedAgain) {
  std::filesystem::create_directories(folder_.path() / "data");
  write_file_atomically(file(kName), content_);
  const HttpServer server(good());
  const Download download = download_dataset(kId, options(server.url()));
  EXPECT_TRUE(download.already_there);
  EXPECT_THAT(server.requests(), IsEmpty());
  // nor when nothing is known but that it can be read
  EXPECT_TRUE(download_dataset(kId, unknown_options(server.url())).already_there);
  EXPECT_THAT(server.requests(), IsEmpty());
  expect_only_the_right_file();
}

TEST_F(DownloadTest, AWrongFileStandsUntilTheRightOneHasCome) {
  std::filesystem::create_directories(folder_.path() / "data");
  write_file_atomically(file(kName), "old");
  const HttpServer server(Script({always(http_answer("404 Not Found", {}, "")), cut(), good()}));
  error_of<RunError>(options(server.url()));
  EXPECT_THAT(names(), ElementsAre(kName));
  error_of<RunError>(options(server.url()));
  EXPECT_EQ(read_text_file(file(kName)), "old");
  download_dataset(kId, options(server.url()));
  expect_only_the_right_file();
}

TEST_F(DownloadTest, AFileOfUnknownHashIsTakenAndItsHashTold) {
  const HttpServer server(good());
  const Download download = download_dataset(kId, unknown_options(server.url()));
  EXPECT_EQ(download.check.verdict, FileVerdict::kUnknown);
  EXPECT_EQ(download.check.found.sha256, hash_of(content_));
  expect_only_the_right_file();
}

TEST_F(DownloadTest, WithoutOptionsTheKnownIdentityCounts) {
  const HttpServer server(good());
  DownloadOptions plain = options(server.url());
  plain.expected.reset();
  EXPECT_THAT(error_of<DataError>(plain), HasSubstr("152756557"));
  EXPECT_THAT(error_of<DataError>(plain), HasSubstr("two uploads"));
  EXPECT_THAT(names(), IsEmpty());
  // unless the user allows another upload
  plain.allow_other_upload = true;
  const Download download = download_dataset(kId, plain);
  EXPECT_EQ(download.check.verdict, FileVerdict::kDiffers);
  expect_only_the_right_file();
  EXPECT_TRUE(download_dataset(kId, plain).already_there);
}

TEST_F(DownloadTest, SeveralThreadsAtOnce) {
  const HttpServer server(good());
  std::vector<std::future<Download>> downloads;
  for (const char* id :
       {"hopper-medium-v2", "hopper-medium-v1", "hopper-expert-v2", "ant-medium-v2"}) {
    downloads.push_back(std::async(
        std::launch::async, [&, id] { return download_dataset(id, options(server.url())); }));
  }
  for (auto& download : downloads) EXPECT_EQ(download.get().check.verdict, FileVerdict::kOk);
  EXPECT_EQ(names().size(), 4u);
}

// ---- servers and lines that fail ----------------------------------------------------------------

TEST_F(DownloadTest, TheSecondTryAsksForTheRestOnly) {
  const HttpServer server(Script({cut(), good()}));
  const std::string error = error_of<RunError>(options(server.url()));
  EXPECT_THAT(error, HasSubstr("10000 of 35952 bytes are kept"));
  expect_part();

  const Download download = download_dataset(kId, options(server.url()));
  expect_only_the_right_file();
  EXPECT_EQ(download.resumed_at, static_cast<int64_t>(kCut));
  ASSERT_EQ(server.requests().size(), 2u);
  EXPECT_EQ(server.requests()[1].headers.at("range"), "bytes=10000-");
  EXPECT_EQ(server.requests()[1].headers.at("if-range"), "\"one\"");
}

TEST_F(DownloadTest, ItGoesOnAfterEveryCut) {
  const auto a_bit_more = [this](const HttpRequest& request) {
    std::string answer = good_answer(request, content_);
    const size_t body = answer.find("\r\n\r\n") + 4;
    return HttpReply{answer.substr(0, body + 9000)};
  };
  const HttpServer server(a_bit_more);
  for (size_t bytes = 9000; bytes < content_.size(); bytes += 9000) {
    error_of<RunError>(options(server.url()));
    expect_part(bytes);
  }
  EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, 27000);
  expect_only_the_right_file();
}

TEST_F(DownloadTest, AResetConnectionLeavesNoWrongFile) {
  const HttpServer server(Script({cut(HttpReply::End::kReset), good()}));
  EXPECT_THAT(error_of<RunError>(options(server.url())), HasSubstr("the transfer failed"));
  EXPECT_FALSE(std::filesystem::exists(file(kName)));
  download_dataset(kId, options(server.url()));
  expect_only_the_right_file();
}

TEST_F(DownloadTest, AStalledServerIsGivenUpAndTheRestFetchedLater) {
  const HttpServer server(
      Script({cut(HttpReply::End::kStall), always("", HttpReply::End::kStall), good()}));
  DownloadOptions impatient = options(server.url());
  impatient.stall_timeout_s = 1;
  EXPECT_THAT(error_of<RunError>(impatient), HasSubstr("nothing arrived for 1 s"));
  expect_part();
  // not even an answer
  EXPECT_THAT(error_of<RunError>(impatient), HasSubstr("nothing arrived for 1 s"));
  expect_part();
  EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, static_cast<int64_t>(kCut));
  expect_only_the_right_file();
}

TEST_F(DownloadTest, NoServerAtAll) {
  std::string url;
  { url = HttpServer(good()).url(); }
  EXPECT_THAT(error_of<RunError>(options(url)), HasSubstr("--base-url"));
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(DownloadTest, AnEndWithoutALengthIsNotTakenForTheWhole) {
  const std::string whole = http_answer("200 OK", {"ETag: \"one\""}, content_);
  const std::string part = http_answer("200 OK", {"ETag: \"one\""}, content_.substr(0, kCut));
  // the size is known
  {
    const HttpServer server(Script({always(part), good()}));
    EXPECT_THAT(error_of<RunError>(options(server.url())), HasSubstr("ended early"));
    expect_part();
    EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, static_cast<int64_t>(kCut));
    expect_only_the_right_file();
    std::filesystem::remove(file(kName));
  }
  // it is not: HDF5 tells
  const HttpServer server(Script({always(part), always(whole)}));
  EXPECT_THAT(error_of<DataError>(unknown_options(server.url())), HasSubstr("no readable D4RL"));
  EXPECT_THAT(names(), IsEmpty());
  download_dataset(kId, unknown_options(server.url()));
  expect_only_the_right_file();
}

TEST_F(DownloadTest, ChunksThatEndTooEarlyAreACut) {
  const std::vector<std::string> headers = {"ETag: \"one\"", "Transfer-Encoding: chunked"};
  const std::string chunk = "2710\r\n" + content_.substr(0, kCut) + "\r\n";
  const HttpServer server(Script({always(http_answer("200 OK", headers, chunk)), good()}));
  EXPECT_THAT(error_of<RunError>(unknown_options(server.url())), HasSubstr("kept"));
  expect_part();
  EXPECT_EQ(download_dataset(kId, unknown_options(server.url())).resumed_at,
            static_cast<int64_t>(kCut));
  expect_only_the_right_file();
}

// ---- servers that lie ---------------------------------------------------------------------------

TEST_F(DownloadTest, AWrongHashIsNeverInstalled) {
  std::string other = content_;
  other.back() = static_cast<char>(other.back() + 1);
  const HttpServer server(
      [&](const HttpRequest& request) { return HttpReply{good_answer(request, other)}; });
  const std::string error = error_of<DataError>(options(server.url()));
  EXPECT_THAT(error, HasSubstr(hash_of(content_)));
  EXPECT_THAT(error, HasSubstr("--sha256 " + hash_of(other)));
  EXPECT_THAT(names(), IsEmpty());
  // nor does it replace a file that is there
  write_file_atomically(file(kName), "old");
  error_of<DataError>(options(server.url()));
  EXPECT_THAT(names(), ElementsAre(kName));
  EXPECT_EQ(read_text_file(file(kName)), "old");
}

TEST_F(DownloadTest, AWrongRestIsNeverInstalled) {
  std::string other = content_;
  other.back() = static_cast<char>(other.back() + 1);
  const auto lie = [&](const HttpRequest& request) {
    return HttpReply{good_answer(request, other)};
  };
  const HttpServer server(Script({cut(), lie, good()}));
  error_of<RunError>(options(server.url()));
  EXPECT_THAT(error_of<DataError>(options(server.url())), HasSubstr(hash_of(other)));
  EXPECT_THAT(names(), IsEmpty());
  EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, 0);
  expect_only_the_right_file();
}

TEST_F(DownloadTest, AWrongSizeIsRefusedBeforeAnythingIsWritten) {
  for (const std::string& body : {content_.substr(0, kCut), content_ + "more"}) {
    const HttpServer server(
        Script({cut(), always(http_answer("200 OK", {content_length(body)}, body)), good()}));
    error_of<RunError>(options(server.url()));
    EXPECT_THAT(error_of<DataError>(options(server.url())),
                HasSubstr("offers " + std::to_string(body.size()) + " bytes"));
    expect_part();
    download_dataset(kId, options(server.url()));
    expect_only_the_right_file();
    std::filesystem::remove(file(kName));
  }
}

TEST_F(DownloadTest, MoreThanAnnouncedIsNotWritten) {
  const std::string more = content_ + std::string(5000, 'x');
  // what lies behind the announced end does not belong to the file
  {
    const HttpServer server(always(http_answer("200 OK", {content_length(content_)}, more)));
    download_dataset(kId, options(server.url()));
    expect_only_the_right_file();
    std::filesystem::remove(file(kName));
  }
  const HttpServer server(always(http_answer("200 OK", {}, more)));
  EXPECT_THAT(error_of<DataError>(options(server.url())), HasSubstr("more than 35952 bytes"));
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(DownloadTest, AFileOfUnknownSizeHasALimit) {
  const HttpServer server(Script({good(), always(http_answer("200 OK", {}, content_)), good()}));
  DownloadOptions limited = unknown_options(server.url());
  limited.max_bytes = static_cast<int64_t>(content_.size()) - 1;
  EXPECT_THAT(error_of<DataError>(limited), HasSubstr("--max-bytes"));
  EXPECT_THAT(names(), IsEmpty());
  EXPECT_THAT(error_of<DataError>(limited), HasSubstr("more than 35951 bytes"));
  EXPECT_THAT(names(), IsEmpty());
  limited.max_bytes += 1;
  download_dataset(kId, limited);
  expect_only_the_right_file();
}

TEST_F(DownloadTest, TheRestOfAFileOfUnknownSizeHasTheSameLimit) {
  const std::vector<std::string> headers = {"ETag: \"one\"", "Transfer-Encoding: chunked"};
  const std::string chunk = "2710\r\n" + content_.substr(0, kCut) + "\r\n";
  const HttpServer server(Script({always(http_answer("200 OK", headers, chunk)), good()}));
  DownloadOptions limited = unknown_options(server.url());
  limited.max_bytes = static_cast<int64_t>(content_.size()) - 1;
  error_of<RunError>(limited);
  expect_part();
  EXPECT_THAT(error_of<DataError>(limited), HasSubstr("--max-bytes"));
  EXPECT_FALSE(std::filesystem::exists(file(kName)));
}

TEST_F(DownloadTest, EndlessHeadersAreNotKept) {
  std::string many;
  for (int i = 0; i < 2000; ++i) many += "X-" + std::to_string(i) + ": y\r\n";
  const HttpServer server(always("HTTP/1.1 200 OK\r\nConnection: close\r\n" + many +
                                 content_length(content_) + "\r\n\r\n" + content_));
  download_dataset(kId, options(server.url()));
  expect_only_the_right_file();
}

TEST_F(DownloadTest, ErrorsAndWebPagesAreNoData) {
  const std::string page = "<!DOCTYPE html><title>Moved</title>";
  const std::vector<std::pair<std::string, std::string>> failures = {
      {http_answer("404 Not Found", {content_length(page)}, page), "status 404"},
      {http_answer("500 Oops", {content_length(content_)}, content_), "status 500"},
      {http_answer("503 Later", {"Content-Length: 0"}, ""), "status 503"},
      {http_answer("204 No Content", {}, ""), "status 204"},
      {http_answer("206 Partial Content", {"Content-Range: bytes 0-35951/35952"}, content_),
       "status 206"},
      {http_answer("302 Found", {}, ""), "redirects to nowhere"}};
  for (const auto& [answer, text] : failures) {
    const HttpServer server(Script({cut(), always(answer)}));
    EXPECT_THAT(error_of<RunError>(options(HttpServer(always(answer)).url())), HasSubstr(text));
    EXPECT_THAT(names(), IsEmpty());
  }
  for (const std::string& body : {page, std::string("short"), std::string()}) {
    // the part of an earlier try is left alone
    const HttpServer server(Script(
        {cut(),
         always(http_answer("200 OK", {"Content-Type: text/html", content_length(body)}, body)),
         good()}));
    error_of<RunError>(options(server.url()));
    EXPECT_THAT(error_of<DataError>(options(server.url())), HasSubstr("no HDF5 file"));
    expect_part();
    EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, static_cast<int64_t>(kCut));
    expect_only_the_right_file();
    std::filesystem::remove(file(kName));
  }
}

TEST_F(DownloadTest, AnHdf5FileThatIsNoD4rlFileIsRefused) {
  const std::string bad = read_text_file(testing::fixture("broken_no_rewards.hdf5"));
  const HttpServer server(always(http_answer("200 OK", {content_length(bad)}, bad)));
  EXPECT_THAT(error_of<DataError>(unknown_options(server.url())), HasSubstr("'rewards'"));
  EXPECT_THAT(names(), IsEmpty());
}

// ---- resuming safely ----------------------------------------------------------------------------

TEST_F(DownloadTest, AServerThatCannotResumeSendsAllAgain) {
  const HttpServer server(
      Script({cut(), always(http_answer("200 OK", {content_length(content_)}, content_))}));
  error_of<RunError>(options(server.url()));
  EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, 0);
  EXPECT_EQ(server.requests()[1].headers.at("range"), "bytes=10000-");
  expect_only_the_right_file();
}

TEST_F(DownloadTest, AChangedFileStartsAfresh) {
  const std::string other = read_text_file(testing::fixture("hopper_float64.hdf5"));
  const auto changed = [&](const HttpRequest& request) {
    return HttpReply{good_answer(request, content_, "\"two\"")};
  };
  // the first try was cut in another file
  const auto before = always(
      http_answer("200 OK", {"ETag: \"one\"", content_length(other)}, other.substr(0, kCut)));
  const HttpServer server(Script({before, changed}));
  error_of<RunError>(unknown_options(server.url()));
  EXPECT_EQ(download_dataset(kId, unknown_options(server.url())).resumed_at, 0);
  EXPECT_EQ(server.requests().size(), 2u);
  expect_only_the_right_file();
}

TEST_F(DownloadTest, ARestThatDoesNotFitStartsAfresh) {
  const std::string rest = content_.substr(kCut);
  const auto partial = [&](const std::string& range, const std::string& etag) {
    return always(
        http_answer("206 Partial Content", {"ETag: " + etag, range, content_length(rest)}, rest));
  };
  const std::vector<HttpServer::Handler> answers = {
      partial("Content-Range: bytes 10000-35951/35952", "\"two\""),
      partial("Content-Range: bytes 10001-35951/35952", "\"one\""),
      partial("Content-Range: bytes 10000-35950/35952", "\"one\""),
      partial("Content-Range: bytes 10000-35952/35953", "\"one\""),
      partial("Content-Range: bytes 10000-35951/*", "\"one\""), partial("X-Nothing: 0", "\"one\""),
      // neither of what the first answer said of the file
      always(http_answer("206 Partial Content",
                         {"Content-Range: bytes 10000-35951/35952", content_length(rest)}, rest)),
      always(http_answer("416 Range Not Satisfiable", {"Content-Length: 0"}, ""))};
  for (const HttpServer::Handler& answer : answers) {
    const HttpServer server(Script({cut(), answer, good()}));
    error_of<RunError>(unknown_options(server.url()));
    EXPECT_EQ(download_dataset(kId, unknown_options(server.url())).resumed_at, 0);
    ASSERT_EQ(server.requests().size(), 3u);
    EXPECT_EQ(server.requests()[2].headers.count("range"), 0u);
    expect_only_the_right_file();
    std::filesystem::remove(file(kName));
  }
}

TEST_F(DownloadTest, ARestOfAnotherDateStartsAfresh) {
  const std::string head = content_.substr(0, kCut);
  const std::string rest = content_.substr(kCut);
  const auto dated = [&](const char* status, const std::string& date,
                         const std::vector<std::string>& more, const std::string& body) {
    std::vector<std::string> headers = {"Last-Modified: " + date};
    headers.insert(headers.end(), more.begin(), more.end());
    return always(http_answer(status, headers, body));
  };
  const std::string range = "Content-Range: bytes 10000-35951/35952";
  const HttpServer server(
      Script({dated("200 OK", "Mon, 01 Jun 2020 10:00:00 GMT", {content_length(content_)}, head),
              dated("206 Partial Content", "Tue, 02 Jun 2020 10:00:00 GMT",
                    {range, content_length(rest)}, rest),
              good()}));
  error_of<RunError>(unknown_options(server.url()));
  EXPECT_EQ(download_dataset(kId, unknown_options(server.url())).resumed_at, 0);
  expect_only_the_right_file();
}

TEST_F(DownloadTest, WithoutAWayToTellVersionsApartNothingIsResumed) {
  const std::string head = content_.substr(0, kCut);
  const auto cut_with = [&](const std::string& header) {
    return always(http_answer("200 OK", {header, content_length(content_)}, head));
  };
  const auto second_request = [&](const std::string& header, bool known) {
    const HttpServer server(Script({cut_with(header), good()}));
    const DownloadOptions mine = known ? options(server.url()) : unknown_options(server.url());
    error_of<RunError>(mine);
    download_dataset(kId, mine);
    expect_only_the_right_file();
    std::filesystem::remove(file(kName));
    return server.requests().at(1);
  };
  EXPECT_EQ(second_request("X-Nothing: 0", false).headers.count("range"), 0u);
  EXPECT_EQ(second_request("ETag: W/\"weak\"", false).headers.count("range"), 0u);
  // a date will do, and so will the hash of the whole
  const std::string date = "Sat, 01 Aug 2020 10:00:00 GMT";
  EXPECT_EQ(second_request("Last-Modified: " + date, false).headers.at("if-range"), date);
  const HttpRequest by_hash = second_request("X-Nothing: 0", true);
  EXPECT_EQ(by_hash.headers.at("range"), "bytes=10000-");
  EXPECT_EQ(by_hash.headers.count("if-range"), 0u);
}

TEST_F(DownloadTest, APartOfAnotherServerOrWithoutItsNotesIsNotUsed) {
  const HttpServer first(cut());
  const HttpServer second(good());
  error_of<RunError>(options(first.url()));
  EXPECT_EQ(download_dataset(kId, options(second.url())).resumed_at, 0);
  expect_only_the_right_file();
  std::filesystem::remove(file(kName));

  const HttpServer server(Script({cut(), good(), cut(), good(), cut(), good()}));
  for (const char* notes : {"", "{\"url\": 3}", "not JSON"}) {
    error_of<RunError>(options(server.url()));
    write_file_atomically(file(kSidecar), notes);
    EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, 0);
    expect_only_the_right_file();
    std::filesystem::remove(file(kName));
  }
}

TEST_F(DownloadTest, AWholePartNeedsNoServer) {
  const HttpServer server(Script({cut(), cut(), good()}));
  error_of<RunError>(options(server.url()));
  write_file_atomically(file(kPart), content_);
  EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at,
            static_cast<int64_t>(content_.size()));
  EXPECT_EQ(server.requests().size(), 1u);
  expect_only_the_right_file();
  std::filesystem::remove(file(kName));
  // one that is too long is of no use
  error_of<RunError>(options(server.url()));
  write_file_atomically(file(kPart), content_ + "more");
  EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, 0);
  expect_only_the_right_file();
}

// ---- redirects ----------------------------------------------------------------------------------

TEST_F(DownloadTest, RedirectsStayOnTheHost) {
  const auto to = [&](const std::string& place) {
    return always(http_answer("301 Moved", {"Location: " + place, "Content-Length: 5"}, "Moved"));
  };
  // the same place by another path
  {
    const HttpServer server(Script({to("/elsewhere/file"), good()}));
    download_dataset(kId, options(server.url()));
    ASSERT_EQ(server.requests().size(), 2u);
    EXPECT_EQ(server.requests()[1].path, "/elsewhere/file");
    expect_only_the_right_file();
    std::filesystem::remove(file(kName));
  }
  // another host or port is not even asked
  const HttpServer other(good());
  for (const std::string& place :
       {other.url(), other.url("localhost"), std::string("http://example.invalid/x")}) {
    const HttpServer server(to(place));
    EXPECT_THAT(error_of<RunError>(options(server.url())), HasSubstr("redirects to " + place));
  }
  EXPECT_THAT(other.requests(), IsEmpty());
  // nor another kind of place
  for (const std::string place : {"file:///etc/passwd", "ftp://127.0.0.1/x"}) {
    const HttpServer server(to(place));
    EXPECT_THAT(error_of<Error>(options(server.url())), HasSubstr(place));
  }
  // round and round
  const HttpServer circle(to("/again"));
  EXPECT_THAT(error_of<RunError>(options(circle.url())), HasSubstr("more than 5 times"));
  EXPECT_EQ(circle.requests().size(), 6u);
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(DownloadTest, ACutAfterARedirectIsResumed) {
  const HttpServer server([&](const HttpRequest& request) {
    if (request.path != "/new") return HttpReply{http_answer("302 Found", {"Location: /new"}, "")};
    return request.headers.count("range") > 0 ? good()(request) : cut()(request);
  });
  error_of<RunError>(options(server.url()));
  expect_part();
  EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, static_cast<int64_t>(kCut));
  expect_only_the_right_file();
}

// ---- mirrors ------------------------------------------------------------------------------------

TEST_F(DownloadTest, AFolderIsAMirror) {
  const auto mirror = folder_.path() / "my mirror #1 100%";
  std::filesystem::create_directories(mirror / "gym_mujoco_v2");
  const std::string bases[] = {
      mirror.string(), mirror.string() + "/",
      "file://" + folder_.path().string() + "/my%20mirror%20%231%20100%25"};
  for (const std::string name : {"gym_mujoco_v2/hopper_medium-v2.hdf5", "hopper_medium-v2.hdf5"}) {
    write_file_atomically(mirror / name, content_);
    for (const std::string& base : bases) {
      EXPECT_EQ(download_dataset(kId, options(base)).check.verdict, FileVerdict::kOk);
      expect_only_the_right_file();
      std::filesystem::remove(file(kName));
    }
    std::filesystem::remove(mirror / name);
  }
  for (const std::string& base : bases) {
    EXPECT_THAT(error_of<DataError>(options(base)), HasSubstr("holds neither"));
  }
  // a wrong file is as wrong as from afar
  write_file_atomically(mirror / kName, content_.substr(0, kCut));
  EXPECT_THAT(error_of<DataError>(options(mirror.string())), HasSubstr("offers 10000 bytes"));
  EXPECT_THAT(error_of<DataError>(unknown_options(mirror.string())), HasSubstr("no readable D4RL"));
  write_file_atomically(mirror / kName, "hello");
  EXPECT_THAT(error_of<DataError>(options(mirror.string())), HasSubstr("no HDF5 file"));
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(DownloadTest, RefusesAddressesThatItDoesNotKnow) {
  EXPECT_THAT(error_of<UsageError>(options("ftp://127.0.0.1/x")), HasSubstr("http://"));
  EXPECT_THAT(error_of<UsageError>(options("http://")), HasSubstr("http://"));
  const std::string error = error_of<UsageError>(options("http://me:secret@127.0.0.1/x"));
  EXPECT_THAT(error, HasSubstr(".netrc"));
  EXPECT_THAT(error, ::testing::Not(HasSubstr("secret")));
  EXPECT_THAT(error_of<UsageError>(options("."), "hoper-medium-v2"),
              HasSubstr("did you mean 'hopper-medium-v2'"));
  EXPECT_THAT(names(), IsEmpty());
}

// ---- this machine -------------------------------------------------------------------------------

TEST_F(DownloadTest, AFolderThatCannotBeWrittenIsNamed) {
  const HttpServer server(good());
  write_file_atomically(folder_.file("data"), "a file");
  EXPECT_THAT(error_of<RunError>(options(server.url())), HasSubstr(folder_.file("data")));
  EXPECT_THAT(server.requests(), IsEmpty());
}

TEST_F(DownloadTest, AReadOnlyFolderIsNamed) {
  std::filesystem::create_directories(folder_.path() / "data");
  ::chmod((folder_.path() / "data").c_str(), 0555);
  const DownloadOptions mine = options(DROP_FIXTURES);
  EXPECT_EXIT(
      {
        // root may write everywhere
        if (::geteuid() == 0 && ::setuid(65534) != 0) std::_Exit(2);
        std::fputs(error_of<RunError>(mine).c_str(), stderr);
        std::_Exit(0);
      },
      ::testing::ExitedWithCode(0), "hdf5.part: cannot be written .*--dir");
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(DownloadTest, AFullDiskIsNamedAndTheRestFetchedLater) {
  const HttpServer server(good());
  const DownloadOptions mine = options(server.url());
  const auto limited = [&] {
    const rlimit limit{kCut, kCut};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, SIG_IGN);
    std::fputs(error_of<RunError>(mine).c_str(), stderr);
    std::_Exit(0);
  };
  EXPECT_EXIT(limited(), ::testing::ExitedWithCode(0), "hdf5.part: writing failed .*free space");
  expect_part();
  EXPECT_EQ(download_dataset(kId, mine).resumed_at, static_cast<int64_t>(kCut));
  expect_only_the_right_file();
}

TEST_F(DownloadTest, ASignalKeepsThePart) {
  install_stop_handlers();
  const HttpServer server(Script({cut(HttpReply::End::kStall), good()}));
  auto first =
      std::async(std::launch::async, [&] { return error_of<Interrupted>(options(server.url())); });
  std::error_code missing;
  while (std::filesystem::file_size(file(kPart), missing) != kCut &&
         first.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
  }
  std::raise(SIGINT);
  EXPECT_THAT(first.get(), HasSubstr("interrupted; 10000 of 35952 bytes are kept"));
  clear_stop_request();
  expect_part();
  EXPECT_EQ(download_dataset(kId, options(server.url())).resumed_at, static_cast<int64_t>(kCut));
  expect_only_the_right_file();
}

TEST_F(DownloadTest, TwoAtOnceDoNotMix) {
  std::promise<void> asked, refused;
  const HttpServer server(Script({[&](const HttpRequest& request) {
                                    asked.set_value();
                                    refused.get_future().wait();
                                    return cut()(request);
                                  },
                                  good()}));
  auto first =
      std::async(std::launch::async, [&] { return error_of<RunError>(options(server.url())); });
  asked.get_future().wait();
  EXPECT_THAT(error_of<UsageError>(options(server.url())), HasSubstr("another process"));
  refused.set_value();
  EXPECT_THAT(first.get(), HasSubstr("kept"));
  expect_part();
  EXPECT_EQ(server.requests().size(), 1u);
  download_dataset(kId, options(server.url()));
  expect_only_the_right_file();
}

// ---- addresses ----------------------------------------------------------------------------------

TEST(DatasetUrl, FollowsTheTableOfD4rl) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"hopper-medium-replay-v2", "gym_mujoco_v2/hopper_medium_replay-v2.hdf5"},
      {"ant-full-replay-v1", "gym_mujoco_v1/ant_full_replay-v1.hdf5"},
      {"walker2d-medium-replay-v0", "gym_mujoco/walker_mixed.hdf5"},
      {"maze2d-umaze-v1", "maze2d/maze2d-umaze-sparse-v1.hdf5"},
      {"antmaze-umaze-v0",
       "ant_maze_new/Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse.hdf5"},
      {"antmaze-medium-play-v1",
       "ant_maze_v1/Ant_maze_medium_noisy_multistart_True_multigoal_False_sparse.hdf5"},
      {"antmaze-large-diverse-v2",
       "ant_maze_v2/Ant_maze_hardest-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5"},
      {"pen-cloned-v0", "hand_dapg/pen-demos-v0-bc-combined.hdf5"},
      {"door-human-v1", "hand_dapg_v1/door-human-v1.hdf5"}};
  for (const auto& [id, path] : cases) {
    EXPECT_EQ(dataset_url(id, kD4rlBaseUrl), kD4rlBaseUrl + path);
    EXPECT_EQ(dataset_url(id, "https://example.org/d4rl"), "https://example.org/d4rl/" + path);
  }
}

TEST(DatasetUrl, EveryKnownIdHasItsOwn) {
  std::vector<std::string> urls;
  for (const std::string& id : known_dataset_ids()) {
    urls.push_back(dataset_url(id, kD4rlBaseUrl));
    EXPECT_THAT(urls.back(), ::testing::EndsWith("/" + file_name_of_dataset_id(id)));
  }
  // 4 robots x 17 + 1, Maze2D 2 x 10, AntMaze 6 x 3, Adroit 4 x 6
  EXPECT_EQ(urls.size(), 131u);
  std::sort(urls.begin(), urls.end());
  EXPECT_EQ(std::unique(urls.begin(), urls.end()), urls.end());
}

}  // namespace
}  // namespace drop
