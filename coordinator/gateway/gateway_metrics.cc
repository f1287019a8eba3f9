#include "coordinator/gateway/gateway_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace tributary::coordinator {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

const Histogram::BucketBoundaries kSeconds = {
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};

}  // namespace

class GatewayMetrics::State {
 public:
  Gauge& MakeGauge(const char* name, const char* help) {
    return BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  Counter& MakeCounter(const char* name, const char* help) {
    return BuildCounter().Name(name).Help(help).Register(registry).Add({});
  }

  Registry registry;
  Family<Counter>& requests = BuildCounter()
                                  .Name("tributary_model_requests_total")
                                  .Help("Requests that have ended")
                                  .Register(registry);
  Family<Histogram>& seconds =
      BuildHistogram()
          .Name("tributary_model_request_seconds")
          .Help("Time from a request to the end of its answer")
          .Register(registry);
  Histogram& first_token =
      BuildHistogram()
          .Name("tributary_model_first_token_seconds")
          .Help("Time from a streamed request to the first part of its answer")
          .Register(registry)
          .Add({}, kSeconds);
  Counter& prompt_tokens = MakeCounter("tributary_model_prompt_tokens_total",
                                       "Tokens of prompts that were answered");
  Counter& completion_tokens = MakeCounter(
      "tributary_model_completion_tokens_total", "Tokens that were made");
  Gauge& in_flight = MakeGauge("tributary_model_requests_in_flight",
                               "Requests that are being answered");
  Gauge& ready = MakeGauge("tributary_model_worker_ready",
                           "1 while the worker has the model loaded");
  Gauge& restarts = MakeGauge("tributary_model_worker_restarts",
                              "How often the worker had to start again");
  Gauge& sequences = MakeGauge("tributary_model_running_sequences",
                               "Choices that are being continued");
  Gauge& waiting = MakeGauge("tributary_model_waiting_requests",
                             "Prompts that wait for room");
  Gauge& cached = MakeGauge("tributary_model_cache_tokens",
                            "Positions that keys and values are reserved for");
  Gauge& steps = MakeGauge("tributary_model_steps",
                           "Passes through the model since the worker began");
  Gauge& step_tokens = MakeGauge("tributary_model_step_tokens",
                                 "Positions in all passes together");
};

GatewayMetrics::GatewayMetrics() : state_(std::make_unique<State>()) {}
GatewayMetrics::~GatewayMetrics() = default;

void GatewayMetrics::CountRequest(const std::string& endpoint, int status,
                                  double seconds) {
  state_->requests
      .Add({{"endpoint", endpoint}, {"status", std::to_string(status)}})
      .Increment();
  state_->seconds.Add({{"endpoint", endpoint}}, kSeconds).Observe(seconds);
}

void GatewayMetrics::CountFirstToken(double seconds) {
  state_->first_token.Observe(seconds);
}

void GatewayMetrics::CountTokens(int64_t prompt, int64_t completion) {
  state_->prompt_tokens.Increment(static_cast<double>(prompt));
  state_->completion_tokens.Increment(static_cast<double>(completion));
}

void GatewayMetrics::SetInFlight(int64_t requests) {
  state_->in_flight.Set(static_cast<double>(requests));
}

std::string GatewayMetrics::Text(const ModelWorker::Facts& facts) {
  const auto set = [](Gauge& gauge, int64_t value) {
    gauge.Set(static_cast<double>(value));
  };
  set(state_->ready, facts.ready ? 1 : 0);
  set(state_->restarts, facts.restarts);
  set(state_->sequences, facts.engine.running_sequences());
  set(state_->waiting, facts.engine.waiting_requests());
  set(state_->cached, facts.engine.cache_tokens());
  set(state_->steps, facts.engine.steps());
  set(state_->step_tokens, facts.engine.step_tokens());
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

}  // namespace tributary::coordinator
