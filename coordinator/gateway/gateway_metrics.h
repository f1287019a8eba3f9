#pragma once

#include <memory>
#include <string>

#include "coordinator/gateway/model_worker.h"

namespace tributary::coordinator {

// What a serving process counts, for Prometheus. Thread-safe.
class GatewayMetrics {
 public:
  GatewayMetrics();
  ~GatewayMetrics();

  void CountRequest(const std::string& endpoint, int status, double seconds);
  void CountFirstToken(double seconds);
  void CountTokens(int64_t prompt, int64_t completion);
  void SetInFlight(int64_t requests);

  // The text form, with what the worker reports.
  std::string Text(const ModelWorker::Facts& facts);

 private:
  class State;
  const std::unique_ptr<State> state_;
};

}  // namespace tributary::coordinator
