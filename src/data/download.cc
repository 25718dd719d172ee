#include "drop/data/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/base/signals.h"
#include "drop/base/text.h"
#include "drop/data/dataset_id.h"
#include "drop/log/logging.h"
#include "drop/log/progress.h"

namespace drop {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kHdf5Signature = "\x89HDF\r\n\x1a\n";
constexpr int kMaxRedirects = 5;
// what is read of a server's answer
constexpr std::array<std::string_view, 4> kHeaders = {"content-range", "content-type", "etag",
                                                      "last-modified"};

std::string reason() { return std::strerror(errno); }

// ---- addresses ----------------------------------------------------------------------------------

struct Address {
  std::string scheme, host, port, path;
};

using UrlHandle = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string part_of(const UrlHandle& url, CURLUPart part, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return "";
  std::string result = text;
  curl_free(text);
  return result;
}

Address address_of(const std::string& text) {
  const UrlHandle url(curl_url(), curl_url_cleanup);
  const bool valid = curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK;
  Address address = {part_of(url, CURLUPART_SCHEME), part_of(url, CURLUPART_HOST),
                     part_of(url, CURLUPART_PORT, CURLU_DEFAULT_PORT),
                     part_of(url, CURLUPART_PATH, CURLU_URLDECODE)};
  const std::string& scheme = address.scheme;
  if (!valid || (scheme != "http" && scheme != "https" && scheme != "file")) {
    throw UsageError("'" + text +
                     "' is no address to download from; allowed are http://..., https://..., "
                     "file://... and a folder; see --base-url");
  }
  if (!part_of(url, CURLUPART_USER).empty()) {
    throw UsageError("the address of " + address.host +
                     " holds a user name; put name and password into ~/.netrc instead");
  }
  return address;
}

std::string local_url(const std::filesystem::path& path) {
  const UrlHandle url(curl_url(), curl_url_cleanup);
  curl_url_set(url.get(), CURLUPART_SCHEME, "file", 0);
  curl_url_set(url.get(), CURLUPART_PATH, std::filesystem::absolute(path).c_str(), CURLU_URLENCODE);
  return part_of(url, CURLUPART_URL);
}

// the same place, or the same host by the safer scheme
void check_redirect(const std::string& from, const std::string& to) {
  const Address old_place = address_of(from);
  const Address new_place = address_of(to);
  const bool same_host = strcasecmp(old_place.host.c_str(), new_place.host.c_str()) == 0;
  const bool same_door = old_place.scheme == new_place.scheme && old_place.port == new_place.port;
  const bool safer = old_place.scheme == "http" && new_place.scheme == "https";
  if (!same_host || !(same_door || safer)) {
    throw RunError(from + ": the server redirects to " + to +
                   ", which is another place; nothing was fetched from there; if you trust it, "
                   "name it with --base-url");
  }
}

// ---- the growing file ---------------------------------------------------------------------------

// what a server said about the file that a part belongs to
struct Origin {
  std::string url;
  std::string etag;
  std::string last_modified;
  int64_t bytes = 0;  // of the whole file; 0 = not said

  // what tells one version of the file from another; a weak ETag cannot
  std::string validator() const {
    return etag.empty() || etag.starts_with("W/") ? last_modified : etag;
  }
};

// TARGET.part and TARGET.part.json; locked against other processes for as long as it lives
class PartFile {
 public:
  explicit PartFile(const std::filesystem::path& target)
      : target_(target), path_(target.string() + ".part"), sidecar_(path_ + ".json") {
    struct stat opened {
    }, named{};
    do {
      if (descriptor_ >= 0) ::close(descriptor_);  // renamed by another process just now
      descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
      if (descriptor_ < 0) {
        throw RunError(path_ + ": cannot be written (" + reason() + "); choose another --dir");
      }
      if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
        const bool is_taken = errno == EWOULDBLOCK;
        const std::string why = std::strerror(errno);
        ::close(descriptor_);
        if (!is_taken) throw RunError(path_ + ": cannot be locked (" + why + ")");
        throw UsageError(path_ + ": another process is downloading this file; wait for it");
      }
    } while (::fstat(descriptor_, &opened) != 0 || ::stat(path_.c_str(), &named) != 0 ||
             opened.st_ino != named.st_ino);
    size_ = ::lseek(descriptor_, 0, SEEK_END);
  }

  ~PartFile() {
    if (size_ == 0) remove_files();
    ::close(descriptor_);
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }

  Origin origin() const {
    try {
      const auto json = nlohmann::json::parse(read_text_file(sidecar_));
      return {json.at("url"), json.at("etag"), json.at("last_modified"), json.at("bytes")};
    } catch (const std::exception&) {
      return {};  // none, or none that is of use
    }
  }

  // empties the file for one that comes from `origin`
  void restart(const Origin& origin) {
    discard();
    const nlohmann::ordered_json json = {{"url", origin.url},
                                         {"etag", origin.etag},
                                         {"last_modified", origin.last_modified},
                                         {"bytes", origin.bytes}};
    write_file_atomically(sidecar_, json_text(json));
  }

  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) {
        throw RunError(path_ + ": writing failed (" + reason() +
                       "); free space or choose another --dir");
      }
      size_ += written;
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }

  // nothing of it is of use; the empty file disappears with this object
  void discard() {
    if (::ftruncate(descriptor_, 0) != 0 || ::lseek(descriptor_, 0, SEEK_SET) != 0) {
      throw RunError(path_ + ": cannot be emptied (" + reason() + ")");
    }
    size_ = 0;
  }

  // safe on disk, then its final name in one step
  void install() {
    if (::fsync(descriptor_) != 0) {
      throw RunError(path_ + ": writing failed (" + reason() + "); choose another --dir");
    }
    if (::rename(path_.c_str(), target_.c_str()) != 0) {
      throw RunError(target_.string() + ": cannot be replaced (" + reason() + ")");
    }
    ::unlink(sidecar_.c_str());
    const int folder = ::open(target_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
      ::fsync(folder);
      ::close(folder);
    }
  }

 private:
  void remove_files() {
    ::unlink(path_.c_str());
    ::unlink(sidecar_.c_str());
  }

  std::filesystem::path target_;
  std::string path_;
  std::string sidecar_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

// ---- one request --------------------------------------------------------------------------------

// Asks for a file, or for the rest of it, and puts what comes into the part. What a wrong answer
// holds never touches the part.
class Transfer {
 public:
  enum class Outcome { kDone, kRedirected, kRestart };

  // `name` is the address before redirects
  Transfer(const std::string& name, const std::string& url, PartFile& part,
           const DownloadOptions& options, int64_t expected_bytes, int64_t from)
      : name_(name),
        url_(url),
        part_(part),
        options_(options),
        expected_(expected_bytes),
        from_(from) {
    static const CURLcode library = curl_global_init(CURL_GLOBAL_DEFAULT);
    handle_.reset(curl_easy_init());
    if (library != CURLE_OK || handle_ == nullptr) throw RunError("libcurl cannot be started");
  }

  Outcome run() {
    CURL* handle = handle_.get();
    curl_easy_setopt(handle, CURLOPT_URL, url_.c_str());
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_OPTIONAL));
    curl_easy_setopt(handle, CURLOPT_USERAGENT, "drop");
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, error_text_);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, this);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(handle, CURLOPT_XFERINFODATA, this);
    // the rest only, and only if it is still the same file
    std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> lines(nullptr, curl_slist_free_all);
    const std::string range = std::to_string(from_) + "-";
    if (from_ > 0) {
      curl_easy_setopt(handle, CURLOPT_RANGE, range.c_str());
      const std::string validator = part_.origin().validator();
      if (!validator.empty()) {
        lines.reset(curl_slist_append(nullptr, ("If-Range: " + validator).c_str()));
        curl_easy_setopt(handle, CURLOPT_HTTPHEADER, lines.get());
      }
    }

    last_news_ = Clock::now();
    const CURLcode code = curl_easy_perform(handle);
    if (progress_ != nullptr) progress_->finish();
    if (error_ != nullptr) std::rethrow_exception(error_);
    if (outcome_ != Outcome::kDone) return outcome_;
    if (code == CURLE_ABORTED_BY_CALLBACK && !stalled_) {
      throw Interrupted(name_ + ": interrupted" + kept());
    }
    if (code != CURLE_OK) throw RunError(name_ + ": " + failure(code) + kept());
    if (!started_) {
      if (!start()) return outcome_;
      append(head_);
    }
    if (total_ > 0 && part_.size() < total_) {
      throw RunError(name_ + ": the server ended early" + kept());
    }
    return Outcome::kDone;
  }

  // bytes of earlier tries that were of use
  int64_t resumed_at() const { return resumed_ ? from_ : 0; }

  // where kRedirected leads
  std::string location() const {
    const char* location = nullptr;
    curl_easy_getinfo(handle_.get(), CURLINFO_REDIRECT_URL, &location);
    if (location == nullptr) {
      throw RunError(name_ + ": the server redirects to nowhere; choose another --base-url");
    }
    return location;
  }

 private:
  // no exception may cross libcurl: it waits in error_
  static size_t on_body(char* bytes, size_t one, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    try {
      return transfer.receive({bytes, one * count}) ? one * count : 0;
    } catch (...) {
      transfer.error_ = std::current_exception();
      return 0;
    }
  }

  static size_t on_header(char* bytes, size_t one, size_t count, void* self) {
    auto& headers = static_cast<Transfer*>(self)->headers_;
    std::string line(bytes, one * count);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
    if (line.starts_with("HTTP/")) headers.clear();  // of an earlier, provisional answer
    const size_t colon = line.find(':');
    if (colon != std::string::npos) {
      std::string key = line.substr(0, colon);
      for (char& letter : key) {
        letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
      }
      // no more than is asked for: a server may send as many as it likes
      if (std::find(kHeaders.begin(), kHeaders.end(), key) == kHeaders.end()) return one * count;
      const size_t value = line.find_first_not_of(" \t", colon + 1);
      headers[key] = value == std::string::npos ? "" : line.substr(value);
    }
    return one * count;
  }

  // called at least once a second
  static int on_progress(void* self, curl_off_t, curl_off_t received, curl_off_t, curl_off_t) {
    auto& transfer = *static_cast<Transfer*>(self);
    const Clock::time_point now = Clock::now();
    if (received != transfer.received_) {
      transfer.received_ = received;
      transfer.last_news_ = now;
    }
    const double silence = std::chrono::duration<double>(now - transfer.last_news_).count();
    transfer.stalled_ = silence > transfer.options_.stall_timeout_s;
    return transfer.stalled_ || stop_requested() ? 1 : 0;
  }

  bool receive(std::string_view bytes) {
    if (started_) {
      append(bytes);
      return true;
    }
    // the first few bytes tell an HDF5 file from a web page
    head_ += bytes;
    if (head_.size() < kHdf5Signature.size()) return true;
    if (!start()) return false;
    append(head_);
    return true;
  }

  void append(std::string_view bytes) {
    const int64_t limit = total_ > 0 ? total_ : options_.max_bytes;
    if (part_.size() + static_cast<int64_t>(bytes.size()) > limit) {
      part_.discard();
      throw DataError(name_ + ": the server sends more than " + std::to_string(limit) +
                      " bytes; nothing was kept; " + cure());
    }
    part_.append(bytes);
    progress_->update(part_.size() / 1024);
  }

  std::string header(const std::string& key) const {
    const auto found = headers_.find(key);
    return found != headers_.end() ? found->second : "";
  }

  // Judges the answer before its body touches the part; false when there is another way to go.
  bool start() {
    long status = 0;  // stays 0 for a local file
    curl_easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status >= 300 && status < 400) {
      outcome_ = Outcome::kRedirected;
      return false;
    }
    const bool continues = from_ > 0 && status == 206 && is_the_rest();
    if (from_ > 0 && !continues && (status == 206 || status == 416)) {
      outcome_ = Outcome::kRestart;
      return false;
    }
    if (status != 0 && status != 200 && !continues) {
      throw RunError(name_ + ": the server answered with status " + std::to_string(status) + "; " +
                     cure());
    }
    resumed_ = continues;
    if (continues) {
      log().info("{}: goes on at {}", name_, human_bytes(static_cast<double>(from_)));
    } else {
      start_afresh(status == 0);
    }
    // without a known size there is nothing to show a share of
    progress_ = std::make_unique<Progress>(
        std::filesystem::path(part_.path()).stem().string() + " (KiB)", total_ / 1024,
        options_.quiet || total_ == 0, 30.0, part_.size() / 1024);
    started_ = true;
    return true;
  }

  // "Content-Range: bytes 100-999/1000" of the file that the part began with
  bool is_the_rest() {
    long long first = 0, last = 0, total = 0;
    const std::string range = header("content-range");
    if (std::sscanf(range.c_str(), "bytes %lld-%lld/%lld", &first, &last, &total) != 3) {
      return false;
    }
    const Origin origin = part_.origin();
    // what it says of itself must not differ from then, and without a known size and hash one of
    // the two must be said again
    const std::string etag = header("etag");
    const std::string modified = header("last-modified");
    const auto differs = [](const std::string& now, const std::string& then) {
      return !now.empty() && !then.empty() && now != then;
    };
    const bool is_named = (!etag.empty() && etag == origin.etag) ||
                          (!modified.empty() && modified == origin.last_modified);
    total_ = total;
    return first == from_ && last == total - 1 && (origin.bytes == 0 || origin.bytes == total) &&
           (expected_ == 0 ? total <= options_.max_bytes : expected_ == total) &&
           !differs(etag, origin.etag) && !differs(modified, origin.last_modified) &&
           (is_named || expected_ > 0);
  }

  void start_afresh(bool is_local) {
    curl_off_t announced = -1;
    curl_easy_getinfo(handle_.get(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    if (!head_.starts_with(kHdf5Signature)) {
      throw DataError(name_ + ": the server sends no HDF5 file (Content-Type '" +
                      header("content-type") + "'); nothing was kept; " + cure());
    }
    if (announced > 0 && expected_ > 0 && announced != expected_) {
      throw DataError(name_ + ": the server offers " + std::to_string(announced) +
                      " bytes, but the known file has " + std::to_string(expected_) +
                      " bytes; nothing was fetched" + trust_cure());
    }
    if (expected_ == 0 && announced > options_.max_bytes) {
      throw DataError(name_ + ": the server offers " + std::to_string(announced) +
                      " bytes; allowed are " + std::to_string(options_.max_bytes) +
                      "; nothing was fetched; raise --max-bytes");
    }
    total_ = announced > 0 ? announced : expected_;
    if (from_ > 0) log().info("{}: starts again, the server cannot go on with the part", name_);
    part_.restart({is_local ? "" : name_, header("etag"), header("last-modified"), total_});
  }

  std::string cure() const { return "try again later or choose another --base-url"; }

  std::string trust_cure() const {
    return other_upload_remark(std::filesystem::path(part_.path()).stem().string()) +
           "; take it with --allow-other-upload if you trust it, or choose another --base-url";
  }

  std::string failure(CURLcode code) const {
    if (stalled_) {
      return "nothing arrived for " + shortest(options_.stall_timeout_s) + " s (--timeout)";
    }
    const std::string text = error_text_;
    return "the transfer failed (" + (text.empty() ? curl_easy_strerror(code) : text) + ")";
  }

  std::string kept() const {
    if (part_.size() == 0) return "; " + cure();
    return "; " + std::to_string(part_.size()) +
           (total_ > 0 ? " of " + std::to_string(total_) : "") + " bytes are kept in " +
           part_.path() + "; give the same command again to go on";
  }

  std::string name_;
  std::string url_;
  PartFile& part_;
  const DownloadOptions& options_;
  int64_t expected_ = 0;  // bytes of the known file; 0 = not known
  int64_t from_ = 0;      // bytes that are there
  int64_t total_ = 0;     // size of the whole file; 0 = not known

  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle_{nullptr, curl_easy_cleanup};
  char error_text_[CURL_ERROR_SIZE] = {};
  std::map<std::string, std::string> headers_;  // keys in lower case
  std::string head_;                            // first bytes, until the answer is judged
  bool started_ = false;
  bool resumed_ = false;
  bool stalled_ = false;
  curl_off_t received_ = 0;
  Clock::time_point last_news_;
  Outcome outcome_ = Outcome::kDone;
  std::exception_ptr error_;
  std::unique_ptr<Progress> progress_;
};

// bytes of the part that can be gone on with
int64_t usable_bytes(const PartFile& part, const std::string& url, const FileIdentity& expected) {
  const Origin origin = part.origin();
  const int64_t total = origin.bytes > 0 ? origin.bytes : expected.bytes;
  const bool same_file = origin.url == url && (expected.bytes == 0 || expected.bytes == total) &&
                         (total == 0 || part.size() <= total);
  // a changed file shows by what the server says, or in the end by its hash
  const bool safe = !origin.validator().empty() || !expected.sha256.empty();
  return same_file && safe ? part.size() : 0;
}

bool is_whole(const PartFile& part, const FileIdentity& expected, int64_t usable) {
  const int64_t total = expected.bytes > 0 ? expected.bytes : part.origin().bytes;
  return usable > 0 && usable == total;
}

// returns where it went on
int64_t fetch(const std::string& name, PartFile& part, const DownloadOptions& options,
              int64_t expected_bytes, int64_t from) {
  std::string url = name;
  for (int requests = 0; requests <= kMaxRedirects; ++requests) {
    Transfer transfer(name, url, part, options, expected_bytes, from);
    switch (transfer.run()) {
      case Transfer::Outcome::kDone:
        return transfer.resumed_at();
      case Transfer::Outcome::kRestart:
        from = 0;
        break;
      case Transfer::Outcome::kRedirected:
        check_redirect(url, transfer.location());
        url = transfer.location();
        break;
    }
  }
  throw RunError(name + ": the server redirects more than " + std::to_string(kMaxRedirects) +
                 " times; choose another --base-url");
}

void require_known(const std::string& id) {
  if (!url_path_of_dataset_id(id).empty()) return;
  throw UsageError("'" + id + "' is no known D4RL id" + nearest_dataset_id_hint(id) +
                   "; drop_data download --list prints them");
}

std::string what_is_wrong(const FileCheck& check, const std::string& file_name) {
  if (check.verdict == FileVerdict::kUnreadable) {
    return "what came is no readable D4RL file (" + check.problem +
           "); it was not kept; try again or choose another --base-url";
  }
  return "the file has the SHA-256 " + check.found.sha256 + ", expected is " +
         check.expected.sha256 + other_upload_remark(file_name) +
         "; it was not kept; give --sha256 " + check.found.sha256 +
         " if you trust this one, or choose another --base-url";
}

}  // namespace

std::string dataset_url(const std::string& id, const std::string& base_url) {
  require_known(id);
  const std::string path = url_path_of_dataset_id(id);
  std::filesystem::path folder = base_url;
  if (base_url.find("://") != std::string::npos) {
    const Address address = address_of(base_url);
    if (address.scheme != "file") return base_url + (base_url.ends_with('/') ? "" : "/") + path;
    folder = address.path;
  }
  // a copy of the server's folders, or all files in one folder
  std::error_code ignored;
  for (const auto& file : {folder / path, folder / file_name_of_dataset_id(id)}) {
    if (std::filesystem::is_regular_file(file, ignored)) return local_url(file);
  }
  throw DataError("the folder '" + folder.string() + "' holds neither " + path + " nor " +
                  file_name_of_dataset_id(id) + "; choose another --base-url");
}

Download download_dataset(const std::string& id, const DownloadOptions& options) {
  require_known(id);
  const std::string name = file_name_of_dataset_id(id);
  const FileIdentity known = options.expected.value_or(known_identity(name));
  const std::filesystem::path target = options.folder / name;
  const auto is_right = [&](const FileCheck& check) {
    return check.verdict == FileVerdict::kOk || check.verdict == FileVerdict::kUnknown ||
           (check.verdict == FileVerdict::kDiffers && options.allow_other_upload);
  };

  // perhaps there is nothing to do
  Download download;
  download.check = check_d4rl_file(target.string(), known);
  download.already_there = is_right(download.check);
  if (download.already_there) return download;
  std::error_code ignored;
  if (std::filesystem::exists(target, ignored)) {
    log().warn("the file that is there is not the right one; it stands until that has come: {}",
               to_text(download.check));
  }

  const std::string url = dataset_url(id, options.base_url);
  const FileIdentity required = options.allow_other_upload ? FileIdentity{} : known;
  create_folders(options.folder);
  PartFile part(target);
  download.resumed_at = usable_bytes(part, url, required);
  if (!is_whole(part, required, download.resumed_at)) {
    download.resumed_at = fetch(url, part, options, required.bytes, download.resumed_at);
  }

  // nothing gets the final name that is not what it should be
  download.check = check_d4rl_file(part.path(), known);
  if (!is_right(download.check)) {
    part.discard();
    throw DataError(url + ": " + what_is_wrong(download.check, name));
  }
  part.install();
  download.check.path = target.string();
  return download;
}

}  // namespace drop
