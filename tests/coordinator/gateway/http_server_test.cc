#include "coordinator/gateway/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <future>
#include <thread>

#include "tests/coordinator/gateway/http_test.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kJson[] = "application/json";

class HttpServerTest : public ::testing::Test {
 protected:
  // A server that says what it was asked.
  void Start(HttpServerOptions options = {}) {
    auto started = HttpServer::Start(
        std::move(options), [](const HttpRequest& request) -> HttpResponse {
          if (request.path == "/throw") {
            throw std::runtime_error("secret detail");
          }
          if (request.path == "/pieces") {
            HttpResponse response{.type = "text/plain"};
            response.next_piece = [n = 0](std::string* piece) mutable {
              *piece = std::to_string(n);
              return ++n < 4;
            };
            return response;
          }
          return {
              .type = "text/plain",
              .body = request.method + " " + request.path + " " + request.body};
        });
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    client_ = MakeClient(server_->address());
  }

  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(HttpServerTest, RequestsReachTheHandler) {
  Start();
  EXPECT_EQ(client_->Get("/a?b=c")->body, "GET /a ");
  EXPECT_EQ(client_->Post("/a", "{}", kJson)->body, "POST /a {}");
  EXPECT_EQ(client_->Get("/pieces")->body, "0123");
  EXPECT_EQ(client_->Head("/a")->status, 200);
}

TEST_F(HttpServerTest, OtherMethodsAndTypesAreRefused) {
  Start();
  EXPECT_EQ(client_->Delete("/a")->status, 405);
  EXPECT_EQ(client_->Post("/a", "a=b", "text/plain")->status, 415);
  EXPECT_EQ(client_->Get("/" + std::string(2000, 'a'))->status, 404);
}

TEST_F(HttpServerTest, TheKeyIsAskedForExceptOnOpenPaths) {
  Start({.key = "0123456789abcdef", .open_paths = {"/health"}});
  const auto refused = client_->Post("/a", "{}", kJson);
  EXPECT_EQ(refused->status, 401);
  EXPECT_THAT(refused->get_header_value("WWW-Authenticate"),
              HasSubstr("Bearer"));
  EXPECT_EQ(client_->Get("/a")->status, 401);
  EXPECT_EQ(client_->Get("/health")->status, 200);
  const auto with = [&](const std::string& value) {
    return client_->Get("/a", {{"Authorization", value}})->status;
  };
  EXPECT_EQ(with("Bearer 0123456789abcdef"), 200);
  EXPECT_EQ(with("Bearer 0123456789abcdeF"), 401);
  EXPECT_EQ(with("Basic bWU6MDEyMzQ1Njc4OWFiY2RlZg=="), 200);
  EXPECT_EQ(with("Basic !!"), 401);
  EXPECT_EQ(with("Bearer "), 401);
}

TEST_F(HttpServerTest, BodiesAreBounded) {
  Start({.max_body_bytes = 1000});
  EXPECT_EQ(client_->Post("/a", std::string(1000, 'x'), kJson)->status, 200);
  EXPECT_EQ(client_->Post("/a", std::string(1001, 'x'), kJson)->status, 413);
  // The same without an announced length.
  const auto chunked = client_->Post(
      "/a",
      [](size_t offset, httplib::DataSink& sink) {
        const std::string part(700, 'x');
        sink.write(part.data(), part.size());
        if (offset > 1000) {
          sink.done();
        }
        return true;
      },
      kJson);
  EXPECT_TRUE(!chunked || chunked->status == 413);
}

TEST_F(HttpServerTest, TheHeadIsBoundedAsAWhole) {
  Start();
  // Each line is short; together they are too much.
  for (const auto& [lines, wanted] : {std::pair(20, "200"), {200, "400"}}) {
    RawConnection client(server_->address());
    ASSERT_TRUE(client.connected());
    std::string head = "GET /a HTTP/1.1\r\nHost: localhost\r\n";
    for (int i = 0; i < lines; ++i) {
      head += "X-" + std::to_string(i) + ": " + std::string(1000, 'a') + "\r\n";
    }
    client.Send(head + "\r\n");
    EXPECT_THAT(client.Receive(),
                StartsWith(std::string("HTTP/1.1 ") + wanted));
  }
}

TEST_F(HttpServerTest, AHandlerHearsOfClientsThatLeave) {
  std::promise<void> began;
  std::promise<bool> left;
  auto server = HttpServer::Start({}, [&](const HttpRequest& request) {
    const bool at_first = request.client_gone();
    began.set_value();
    for (int i = 0; i < 1000 && !request.client_gone(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    left.set_value(!at_first && request.client_gone());
    return HttpResponse();
  });
  ASSERT_TRUE(server.ok()) << server.status();
  auto client = std::make_unique<RawConnection>((*server)->address());
  client->Send("GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
  began.get_future().wait();
  client.reset();
  EXPECT_TRUE(left.get_future().get());
}

TEST_F(HttpServerTest, OnLoopbackCallersMustHaveMeantThisMachine) {
  Start();
  EXPECT_EQ(client_->Get("/a", {{"Host", "evil.example"}})->status, 403);
  EXPECT_EQ(client_->Get("/a", {{"Host", "localhost:80"}})->status, 200);
  EXPECT_EQ(client_->Get("/a", {{"Host", "[::1]:80"}})->status, 200);
}

TEST_F(HttpServerTest, WhatAHandlerThrowsIsNotTold) {
  Start();
  const auto response = client_->Get("/throw");
  EXPECT_EQ(response->status, 500);
  EXPECT_EQ(response->body.find("secret"), std::string::npos);
}

TEST_F(HttpServerTest, APortThatIsTakenIsUnavailable) {
  Start();
  const auto address = ParseListenAddress(server_->address());
  ASSERT_TRUE(address.ok());
  EXPECT_EQ(address->first, "127.0.0.1");
  const auto second =
      HttpServer::Start({.host = "256.1.1.1", .port = address->second},
                        [](const HttpRequest&) { return HttpResponse(); });
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
}

TEST(ListenAddressTest, AddressesAndPorts) {
  EXPECT_EQ(ParseListenAddress("[::1]:0")->first, "::1");
  EXPECT_EQ(ParseListenAddress("0.0.0.0:65535")->second, 65535);
  for (const char* text : {"", "8000", "a:", "a:x", "a:70000", ":80", "a:-1"}) {
    EXPECT_FALSE(ParseListenAddress(text).ok()) << text;
  }
}

}  // namespace
}  // namespace tributary::coordinator
