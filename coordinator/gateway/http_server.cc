#include "coordinator/gateway/http_server.h"

#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <exception>
#include <thread>

#include "common/base/log.h"
#include "common/crypto/base64.h"
#include "common/crypto/constant_time.h"
#include "coordinator/gateway/http_connection.h"

namespace tributary::coordinator {
namespace {

constexpr size_t kMaxPathBytes = 512;
// For the head of a request, and behind it for each read or write.
constexpr std::chrono::seconds kTimeout(30);

// The host of a Host header, without its port.
std::string HostOf(const std::string& header) {
  if (header.starts_with('[')) {
    return header.substr(0, header.find(']') + 1);
  }
  return header.substr(0, header.find(':'));
}

// The secret in an Authorization header, or nothing.
std::string ShownKey(const std::string& header) {
  constexpr std::string_view kBearer = "Bearer ";
  constexpr std::string_view kBasic = "Basic ";
  if (header.starts_with(kBearer)) {
    return header.substr(kBearer.size());
  }
  if (header.starts_with(kBasic)) {
    const StatusOr<std::string> pair =
        crypto::DecodeBase64(std::string_view(header).substr(kBasic.size()));
    const size_t colon = pair.ok() ? pair->find(':') : std::string::npos;
    return colon == std::string::npos ? "" : pair->substr(colon + 1);
  }
  return "";
}

// The library's server on connections of our own, one request each.
class ConnectionServer : public httplib::Server {
 public:
  // Of the request that this thread is answering.
  static const HttpConnection* current() { return current_; }

 private:
  bool process_and_close_socket(socket_t socket) override {
    HttpConnection connection(socket, kTimeout);
    current_ = &connection;
    bool closed = false;
    const bool done = process_request(connection, /*close_connection=*/true,
                                      closed, /*setup_request=*/nullptr);
    current_ = nullptr;
    shutdown(socket, SHUT_RDWR);
    close(socket);
    return done;
  }

  static thread_local const HttpConnection* current_;
};

thread_local const HttpConnection* ConnectionServer::current_ = nullptr;

}  // namespace

class HttpServer::Impl {
 public:
  Impl(HttpServerOptions options, Handler handler)
      : options_(std::move(options)), handler_(std::move(handler)) {}

  ~Impl() {
    server_.stop();
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  Status Start() {
    Configure();
    int port = options_.port;
    if (port == 0) {
      port = server_.bind_to_any_port(options_.host);
    } else if (!server_.bind_to_port(options_.host, port)) {
      port = -1;
    }
    if (port <= 0) {
      return Unavailable(
          "cannot listen on {}:{}; choose another address or port",
          options_.host, options_.port);
    }
    address_ = fmt::format("{}:{}", options_.host, port);
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    // stop() does nothing to a server that does not run yet.
    while (!server_.is_running()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return absl::OkStatus();
  }

  const std::string& address() const { return address_; }

 private:
  using Outcome = httplib::Server::HandlerResponse;

  void Configure() {
    server_.new_task_queue = [this] {
      return new httplib::ThreadPool(
          static_cast<size_t>(options_.max_connections));
    };
    server_.set_keep_alive_max_count(1);
    server_.set_payload_max_length(options_.max_body_bytes);
    server_.set_tcp_nodelay(true);
    // Everything but bodies is decided here; a pattern is never matched against
    // a path of any length.
    server_.set_pre_routing_handler([this](const httplib::Request& request,
                                           httplib::Response& response) {
      const bool known = request.method == "GET" || request.method == "HEAD" ||
                         request.method == "POST";
      if (!known || request.path.size() > kMaxPathBytes) {
        Refuse(known ? 404 : 405, known ? "no such path" : "wanted GET or POST",
               response);
        return Outcome::Handled;
      }
      if (request.method == "POST") {
        return Outcome::Unhandled;
      }
      if (Admit(request, response)) {
        Answer(request, "", response);
      }
      return Outcome::Handled;
    });
    server_.Post("/.*", [this](const httplib::Request& request,
                               httplib::Response& response,
                               const httplib::ContentReader& read) {
      Post(request, response, read);
    });
    server_.set_error_handler(httplib::Server::HandlerWithResponse(
        [this](const httplib::Request&, httplib::Response& response) {
          if (response.body.empty()) {
            Refuse(response.status, Reason(response.status), response);
          }
          return Outcome::Handled;
        }));
    server_.set_exception_handler([this](const httplib::Request&,
                                         httplib::Response& response,
                                         std::exception_ptr thrown) {
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& error) {
        log::Error("http: {}", error.what());
      } catch (...) {
        log::Error("http: something was thrown");
      }
      Refuse(500, "internal error", response);
    });
  }

  std::string Reason(int status) const {
    return status == 413 ? fmt::format("the body is larger than {} bytes",
                                       options_.max_body_bytes)
                         : "this is no request that can be answered";
  }

  // Whether the request may be answered; otherwise the response says why not.
  bool Admit(const httplib::Request& request, httplib::Response& response) {
    if (IsLoopback(options_.host) &&
        !IsLoopback(HostOf(request.get_header_value("Host")))) {
      Refuse(403, "this server is for this machine only: use localhost",
             response);
      return false;
    }
    const auto& open = options_.open_paths;
    if (options_.key.empty() ||
        std::find(open.begin(), open.end(), request.path) != open.end() ||
        crypto::ConstantTimeEquals(
            ShownKey(request.get_header_value("Authorization")),
            options_.key)) {
      return true;
    }
    Refuse(401, "the key is missing or wrong", response);
    response.set_header("WWW-Authenticate",
                        options_.scheme + " realm=\"tributary\"");
    return false;
  }

  void Post(const httplib::Request& request, httplib::Response& response,
            const httplib::ContentReader& read) {
    const bool json = request.get_header_value("Content-Type")
                          .starts_with("application/json");
    const bool admitted = Admit(request, response);
    const bool wanted = admitted && json;
    if (admitted && !json) {
      Refuse(415, "wanted a body of Content-Type application/json", response);
    }
    // A refused body is read all the same: a client hears an answer only when
    // it could send everything.
    std::string body;
    size_t size = 0;
    const bool whole = read([&](const char* data, size_t length) {
      size += length;
      if (size > options_.max_body_bytes) {
        return false;
      }
      if (wanted) {
        body.append(data, length);
      }
      return true;
    });
    if (size > options_.max_body_bytes) {
      Refuse(413, Reason(413), response);
    } else if (whole && wanted) {
      Answer(request, body, response);
    }
  }

  void Answer(const httplib::Request& request, const std::string& body,
              httplib::Response& response) {
    HttpResponse answer =
        handler_({.method = request.method == "HEAD" ? "GET" : request.method,
                  .path = request.path,
                  .body = body,
                  .client_gone = [connection = ConnectionServer::current()] {
                    return connection != nullptr && connection->gone();
                  }});
    Fill(std::move(answer), response);
  }

  void Refuse(int status, const std::string& message,
              httplib::Response& response) {
    HttpResponse answer;
    if (options_.refuse) {
      answer = options_.refuse(status, message);
    } else {
      answer = {.type = "text/plain", .body = message + "\n"};
    }
    answer.status = status;
    Fill(std::move(answer), response);
  }

  void Fill(HttpResponse answer, httplib::Response& response) {
    response.status = answer.status;
    for (const auto& [name, value] : options_.headers) {
      response.set_header(name, value);
    }
    for (const auto& [name, value] : answer.headers) {
      response.set_header(name, value);
    }
    if (!answer.next_piece) {
      response.set_content(answer.body, answer.type);
      return;
    }
    response.set_chunked_content_provider(
        answer.type,
        [next = std::move(answer.next_piece)](size_t, httplib::DataSink& sink) {
          std::string piece;
          const bool more = next(&piece);
          if (!piece.empty() && !sink.write(piece.data(), piece.size())) {
            return false;
          }
          if (!more) {
            sink.done();
          }
          return true;
        });
  }

  const HttpServerOptions options_;
  const Handler handler_;
  ConnectionServer server_;
  std::string address_;
  std::thread thread_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    HttpServerOptions options, Handler handler) {
  try {
    auto impl = std::make_unique<Impl>(std::move(options), std::move(handler));
    RETURN_IF_ERROR(impl->Start());
    return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
  } catch (const std::exception& error) {
    return Unavailable("http: {}", error.what());
  }
}

const std::string& HttpServer::address() const { return impl_->address(); }

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host == "[::1]" ||
         (host.starts_with("127.") &&
          host.find_first_not_of("0123456789.") == std::string::npos);
}

StatusOr<std::pair<std::string, int>> ParseListenAddress(
    const std::string& text) {
  const size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon == std::string::npos ? 0 : colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  int port = -1;
  if (colon != std::string::npos) {
    const char* begin = text.data() + colon + 1;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(begin, end, port);
    port = error == std::errc() && rest == end ? port : -1;
  }
  if (host.empty() || port < 0 || port > 65535) {
    return InvalidArgument(
        "got '{}', wanted an address and port such as 127.0.0.1:8000", text);
  }
  return std::pair(host, port);
}

}  // namespace tributary::coordinator
