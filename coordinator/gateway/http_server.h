#pragma once

// An HTTP server for a few requests at a time: with its connection the one
// place that meets the HTTP library.

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tributary::coordinator {

struct HttpRequest {
  std::string method;  // GET or POST
  std::string path;    // without the query
  std::string body;
  // Whether the client has closed the connection or its sending half, so that
  // nobody waits for the answer. Valid while the handler runs.
  std::function<bool()> client_gone = [] { return false; };
};

struct HttpResponse {
  int status = 200;
  std::string type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  // Where it is set, the body comes in pieces: called until it returns false,
  // on the connection's thread; destroyed when the client is gone or has all.
  std::function<bool(std::string* piece)> next_piece;
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any
  // What a caller must show, as bearer token or as the password of basic
  // authentication with any name; empty: nothing.
  std::string key;
  // The scheme that callers without it are told: Bearer or Basic.
  std::string scheme = "Bearer";
  // Paths that are open to everyone.
  std::vector<std::string> open_paths;
  size_t max_body_bytes = 8u << 20;
  // Connections that are served at a time; further ones wait.
  int max_connections = 64;
  // Makes the answer to a request that is refused before it reaches the
  // handler.
  std::function<HttpResponse(int status, const std::string& message)> refuse;
  // Sent with every answer.
  std::vector<std::pair<std::string, std::string>> headers;
};

// One request a connection. Bodies must be JSON. While it listens on a loopback
// address only, callers must have named one (a web page elsewhere cannot make a
// browser do so).
class HttpServer {
 public:
  // Called on the connections' threads, many at a time.
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  // Listens and serves. UNAVAILABLE when the address cannot be had.
  static StatusOr<std::unique_ptr<HttpServer>> Start(HttpServerOptions options,
                                                     Handler handler);
  // Stops listening and waits for the requests that run.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // host:port
  const std::string& address() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

// Whether a host name or address is this machine's own.
bool IsLoopback(const std::string& host);

// "127.0.0.1:8000", "[::1]:8000" to host and port. INVALID_ARGUMENT otherwise.
StatusOr<std::pair<std::string, int>> ParseListenAddress(
    const std::string& text);

}  // namespace tributary::coordinator
