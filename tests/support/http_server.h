#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace drop::testing {

struct HttpRequest {
  std::string path;
  std::map<std::string, std::string> headers;  ///< keys in lower case
};

/// What goes over the wire, as it is: a test may lie, cut and stall as it likes.
struct HttpReply {
  enum class End { kClose, kReset, kStall };

  std::string bytes;
  End end = End::kClose;
};

/// An HTTP server on loopback that answers one connection after the other as a test tells it.
class HttpServer {
 public:
  using Handler = std::function<HttpReply(const HttpRequest&)>;

  explicit HttpServer(Handler handler) : handler_(std::move(handler)) {
    ::setenv("no_proxy", "127.0.0.1,localhost", 1);
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, any, size) == 0 && ::listen(listener_, 8) == 0 &&
        ::getsockname(listener_, any, &size) == 0) {
      port_ = ntohs(address.sin_port);
    }
    thread_ = std::thread([this] { serve(); });
  }

  ~HttpServer() {
    stop_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url(const std::string& host = "127.0.0.1") const {
    return "http://" + host + ":" + std::to_string(port_) + "/";
  }

  std::vector<HttpRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    while (!stop_) {
      const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) continue;
      // short waits, so that the end of the server is noticed
      const timeval wait{0, 20000};
      ::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
      answer(connection);
      ::close(connection);
    }
  }

  // false at the end of the connection
  bool receive(int connection, std::string& text) {
    char buffer[4096];
    while (!stop_) {
      const ssize_t got = ::recv(connection, buffer, sizeof buffer, 0);
      if (got == 0) return false;
      if (got < 0 && errno != EAGAIN && errno != EINTR) return false;
      if (got < 0) continue;
      text.append(buffer, static_cast<size_t>(got));
      return true;
    }
    return false;
  }

  void answer(int connection) {
    std::string text;
    while (text.find("\r\n\r\n") == std::string::npos) {
      if (!receive(connection, text)) return;
    }
    const HttpRequest request = parsed(text);
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const HttpReply reply = handler_(request);
    size_t done = 0;
    while (done < reply.bytes.size()) {
      const ssize_t sent =
          ::send(connection, reply.bytes.data() + done, reply.bytes.size() - done, MSG_NOSIGNAL);
      if (sent <= 0) return;
      done += static_cast<size_t>(sent);
    }
    if (reply.end == HttpReply::End::kStall) {
      while (receive(connection, text)) {
      }
    } else if (reply.end == HttpReply::End::kReset) {
      const linger at_once{1, 0};
      ::setsockopt(connection, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
  }

  static HttpRequest parsed(const std::string& text) {
    HttpRequest request;
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line);
    std::istringstream(line.substr(line.find(' '))) >> request.path;
    while (std::getline(lines, line) && line != "\r") {
      const size_t colon = line.find(": ");
      if (colon == std::string::npos) continue;
      std::string key = line.substr(0, colon);
      std::transform(key.begin(), key.end(), key.begin(),
                     [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
      request.headers[key] = line.substr(colon + 2, line.size() - colon - 3);
    }
    return request;
  }

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::vector<HttpRequest> requests_;
  std::thread thread_;
};

/// An answer in which nothing is made up by this function: "200 OK", {"ETag: ..."}, body.
inline std::string http_answer(const std::string& status, const std::vector<std::string>& headers,
                               const std::string& body) {
  std::string text = "HTTP/1.1 " + status + "\r\nConnection: close\r\n";
  for (const std::string& header : headers) text += header + "\r\n";
  return text + "\r\n" + body;
}

inline std::string content_length(const std::string& body) {
  return "Content-Length: " + std::to_string(body.size());
}

/// What a good server sends: the file, or the rest of it when the client's version is this one.
inline std::string good_answer(const HttpRequest& request, const std::string& content,
                               const std::string& etag = "\"one\"") {
  const auto range = request.headers.find("range");
  const auto condition = request.headers.find("if-range");
  const bool same = condition == request.headers.end() || condition->second == etag;
  if (range == request.headers.end() || !same) {
    return http_answer("200 OK", {"ETag: " + etag, content_length(content)}, content);
  }
  const size_t first = std::stoul(range->second.substr(std::string("bytes=").size()));
  const std::string rest = content.substr(first);
  return http_answer(
      "206 Partial Content",
      {"ETag: " + etag, content_length(rest),
       "Content-Range: bytes " + std::to_string(first) + "-" + std::to_string(content.size() - 1) +
           "/" + std::to_string(content.size())},
      rest);
}

}  // namespace drop::testing
