#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "coordinator/gateway/api_request.h"
#include "coordinator/gateway/gateway_metrics.h"
#include "coordinator/gateway/http_server.h"
#include "coordinator/gateway/model_call.h"
#include "coordinator/gateway/model_worker.h"

namespace tributary::coordinator {

struct GatewayOptions {
  std::string model;  // its name in the API
  ApiLimits limits;
  // Requests that are answered at a time; further ones are refused with 429.
  int64_t max_requests = 64;
  // A request that nothing happens to for so long fails with 504.
  double timeout_s = 600;
};

// OpenAI's API before a serving worker:
//   GET  /health  /metrics  /v1/models  /v1/models/NAME
//   POST /v1/completions  /v1/chat/completions
class Gateway {
 public:
  // The worker outlives the gateway, and the gateway the server whose handler
  // it is.
  Gateway(GatewayOptions options, ModelWorker& worker);

  HttpResponse Handle(const HttpRequest& request);

  // From now on new requests are refused with 503.
  void Drain() { draining_ = true; }
  int64_t in_flight() const { return in_flight_; }

 private:
  class Flight;
  struct Streamed;

  HttpResponse Health() const;
  HttpResponse Models(const std::string& path) const;
  HttpResponse Complete(ApiKind kind, const HttpRequest& request);
  // CANCELLED when the client has gone.
  StatusOr<std::optional<ModelCall::More>> Wait(ModelCall& call,
                                                const HttpRequest& http) const;
  HttpResponse AnswerWhole(const ApiRequest& request, const HttpRequest& http,
                           std::shared_ptr<Flight> flight);
  HttpResponse AnswerInParts(ApiRequest request, const HttpRequest& http,
                             std::shared_ptr<Flight> flight);

  const GatewayOptions options_;
  ModelWorker& worker_;
  GatewayMetrics metrics_;
  const int64_t start_s_;
  std::atomic<int64_t> in_flight_{0};
  std::atomic<bool> draining_{false};
};

}  // namespace tributary::coordinator
