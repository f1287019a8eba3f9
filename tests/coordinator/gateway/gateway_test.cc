#include "coordinator/gateway/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "common/base/files.h"
#include "tests/coordinator/gateway/http_test.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr char kCompletions[] = "/v1/completions";
constexpr char kChat[] = "/v1/chat/completions";

class GatewayTest : public ::testing::Test {
 protected:
  GatewayTest() : folder_(*TemporaryDirectory::Create("gateway-test")) {
    signal(SIGPIPE, SIG_IGN);
  }

  std::unique_ptr<ModelWorker> MakeWorker(const std::string& model) {
    ModelWorker::Options options;
    options.executable =
        fs::path(TRIBUTARY_BINARY_DIR) / "bin" / "fake_serving_worker";
    options.job.set_output_directory((folder_.path() / "job").string());
    options.job.add_tasks()
        ->mutable_model_serve()
        ->mutable_model()
        ->set_directory(model);
    options.log_file = folder_.path() / "log";
    return std::make_unique<ModelWorker>(std::move(options));
  }

  void Start(GatewayOptions options = {}) {
    options.model = "tiny";
    worker_ = MakeWorker("any");
    const Status ready = worker_->WaitUntilReady(CancellationToken());
    ASSERT_TRUE(ready.ok()) << ready;
    gateway_ = std::make_unique<Gateway>(std::move(options), *worker_);
    auto server = HttpServer::Start({.refuse = nullptr},
                                    [this](const HttpRequest& request) {
                                      return gateway_->Handle(request);
                                    });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = MakeClient(server_->address());
  }

  std::pair<int, Json> Post(const char* path, const Json& body) {
    const auto response = MakeClient(server_->address())
                              ->Post(path, body.dump(), "application/json");
    if (!response) {
      ADD_FAILURE() << "no response";
      return {0, nullptr};
    }
    return {response->status, Json::parse(response->body, nullptr, false)};
  }

  // The data lines of a streamed answer.
  std::vector<std::string> Stream(const char* path, Json body) {
    body["stream"] = true;
    const auto response = client_->Post(path, body.dump(), "application/json");
    std::vector<std::string> lines;
    if (!response || response->status != 200) {
      ADD_FAILURE() << (response ? response->body : "no response");
      return lines;
    }
    std::istringstream text(response->body);
    for (std::string line; std::getline(text, line);) {
      if (line.starts_with("data: ")) {
        lines.push_back(line.substr(6));
      }
    }
    return lines;
  }

  // Waits until the worker, which has just ended, serves again.
  bool Recovered() {
    for (int i = 0; i < 1000; ++i) {
      if (worker_->facts().ready && worker_->facts().restarts > 0) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }

  TemporaryDirectory folder_;
  std::unique_ptr<ModelWorker> worker_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(GatewayTest, ModelsAndHealth) {
  Start();
  const Json models = Json::parse(client_->Get("/v1/models")->body);
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  EXPECT_EQ(models["data"][0]["max_model_len"], 100);
  EXPECT_EQ(client_->Get("/v1/models/tiny")->status, 200);
  EXPECT_EQ(client_->Get("/v1/models/other")->status, 404);
  EXPECT_EQ(client_->Get("/health")->status, 200);
  EXPECT_EQ(client_->Get("/nothing")->status, 404);
  EXPECT_EQ(client_->Get(kCompletions)->status, 405);
}

TEST_F(GatewayTest, PromptsTimesChoicesInOrder) {
  Start();
  const auto [status, answer] = Post(
      kCompletions, {{"model", "tiny"}, {"prompt", {"a b", "c"}}, {"n", 2}});
  EXPECT_EQ(status, 200);
  EXPECT_EQ(answer["object"], "text_completion");
  ASSERT_EQ(answer["choices"].size(), 4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answer["choices"][i]["index"], i);
    EXPECT_EQ(answer["choices"][i]["text"], i < 2 ? "a b " : "c ");
    EXPECT_EQ(answer["choices"][i]["finish_reason"], "stop");
    EXPECT_TRUE(answer["choices"][i]["logprobs"].is_null());
  }
  EXPECT_EQ(answer["usage"]["total_tokens"], 6 + 6);
}

TEST_F(GatewayTest, LogProbabilitiesInBothForms) {
  Start();
  auto [status, answer] =
      Post(kCompletions, {{"prompt", "a"}, {"logprobs", 1}});
  EXPECT_EQ(status, 200);
  const Json& legacy = answer["choices"][0]["logprobs"];
  // Bytes that are no UTF-8 are spelt out.
  EXPECT_EQ(legacy["tokens"][0], "bytes:\\x61\\xff");
  EXPECT_EQ(legacy["token_logprobs"][0], -0.5);
  EXPECT_EQ(legacy["top_logprobs"][0]["a"], -0.25);
  std::tie(status, answer) =
      Post(kChat, {{"messages", {{{"role", "user"}, {"content", "a"}}}},
                   {"logprobs", true},
                   {"top_logprobs", 1}});
  EXPECT_EQ(status, 200);
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "a ");
  const Json& token = answer["choices"][0]["logprobs"]["content"][0];
  EXPECT_EQ(token["bytes"], Json({0x61, 0xff}));
  EXPECT_EQ(token["top_logprobs"][0]["token"], "a");
}

TEST_F(GatewayTest, StreamsOfBothKinds) {
  Start();
  auto lines = Stream(
      kCompletions,
      {{"prompt", "a b"}, {"stream_options", {{"include_usage", true}}}});
  ASSERT_EQ(lines.size(), 5);  // two words, the end, the usage, [DONE]
  EXPECT_EQ(Json::parse(lines[0])["choices"][0]["text"], "a ");
  EXPECT_EQ(Json::parse(lines[2])["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(Json::parse(lines[3])["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(lines[4], "[DONE]");
  lines =
      Stream(kChat, {{"messages", {{{"role", "user"}, {"content", "a b"}}}}});
  ASSERT_EQ(lines.size(), 4);
  const Json first = Json::parse(lines[0]);
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(Json::parse(lines[1])["choices"][0]["delta"],
            Json({{"content", "b "}}));
}

TEST_F(GatewayTest, ErrorsAreToldInTheApisForm) {
  Start();
  auto [status, answer] =
      Post(kCompletions, {{"prompt", "a"}, {"model", "other"}});
  EXPECT_EQ(status, 404);
  EXPECT_EQ(answer["error"]["code"], "model_not_found");
  std::tie(status, answer) = Post(kCompletions, {{"prompt", "refuse"}});
  EXPECT_EQ(status, 400);
  EXPECT_EQ(answer["error"]["message"], "said no to refuse");
  EXPECT_EQ(answer["error"]["type"], "invalid_request_error");
  std::tie(status, answer) = Post(kCompletions, {{"prompt", "full"}});
  EXPECT_EQ(status, 429);
  // Also when a stream was asked for: nothing was sent yet.
  std::tie(status, answer) =
      Post(kCompletions, {{"prompt", "refuse"}, {"stream", true}});
  EXPECT_EQ(status, 400);
}

TEST_F(GatewayTest, AWorkerThatLiesIsAnInternalError) {
  Start();
  EXPECT_EQ(Post(kCompletions, {{"prompt", "lie"}}).first, 500);
}

TEST_F(GatewayTest, ACrashFailsWhatRunsAndTheWorkerComesBack) {
  Start();
  std::thread other([this] {
    EXPECT_EQ(Post(kCompletions, {{"prompt", "hang"}}).first, 503);
  });
  while (gateway_->in_flight() == 0) {
    std::this_thread::yield();
  }
  const auto [status, answer] = Post(kCompletions, {{"prompt", "crash"}});
  EXPECT_EQ(status, 503);
  EXPECT_EQ(answer["error"]["type"], "service_unavailable_error");
  other.join();
  ASSERT_TRUE(Recovered());
  EXPECT_EQ(Post(kCompletions, {{"prompt", "again"}}).first, 200);
  EXPECT_THAT(client_->Get("/metrics")->body,
              HasSubstr("tributary_model_worker_restarts 1"));
}

TEST_F(GatewayTest, TooManyRequestsAreRefused) {
  Start({.max_requests = 1, .timeout_s = 1});
  std::thread other([this] {
    EXPECT_EQ(Post(kCompletions, {{"prompt", "hang"}}).first, 504);
  });
  while (gateway_->in_flight() == 0) {
    std::this_thread::yield();
  }
  EXPECT_EQ(Post(kCompletions, {{"prompt", "a"}}).first, 429);
  other.join();
  EXPECT_EQ(Post(kCompletions, {{"prompt", "a"}}).first, 200);
}

TEST_F(GatewayTest, WhatNobodyWaitsForIsCancelled) {
  Start();
  {
    RawConnection client(server_->address());
    ASSERT_TRUE(client.connected());
    client.Send(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: 18\r\n\r\n"
        "{\"prompt\": \"hang\"}");
    while (gateway_->in_flight() == 0) {
      std::this_thread::yield();
    }
  }
  for (int i = 0; i < 1000 && gateway_->in_flight() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(gateway_->in_flight(), 0);
  const auto [status, answer] = Post(kCompletions, {{"prompt", "cancelled?"}});
  EXPECT_EQ(status, 200);
  EXPECT_EQ(answer["choices"][0]["text"], "1");
  EXPECT_THAT(client_->Get("/metrics")->body, HasSubstr("status=\"499\"} 1"));
}

TEST_F(GatewayTest, DrainingRefusesNewRequests) {
  Start();
  gateway_->Drain();
  EXPECT_EQ(Post(kCompletions, {{"prompt", "a"}}).first, 503);
  EXPECT_EQ(client_->Get("/health")->status, 503);
  worker_->Stop(10);
  EXPECT_FALSE(worker_->facts().ready);
}

TEST_F(GatewayTest, MetricsCount) {
  Start();
  Post(kCompletions, {{"prompt", "a b"}});
  Post(kCompletions, {{"nothing", 1}});
  const std::string text = client_->Get("/metrics")->body;
  for (const char* line :
       {"tributary_model_requests_total{endpoint=\"completions\","
        "status=\"200\"} 1",
        "tributary_model_requests_total{endpoint=\"completions\","
        "status=\"400\"} 1",
        "tributary_model_prompt_tokens_total 3",
        "tributary_model_completion_tokens_total 2",
        "tributary_model_worker_ready 1"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(GatewayTest, AModelThatCannotBeLoadedIsToldAtOnce) {
  const auto worker = MakeWorker("broken");
  const Status status = worker->WaitUntilReady(CancellationToken());
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("broken"));
}

}  // namespace
}  // namespace tributary::coordinator
