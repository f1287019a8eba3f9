#include "coordinator/service/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <exception>

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

const Histogram::BucketBoundaries kSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025,
                                              0.05,  0.1,    0.25,  0.5,  1,
                                              2.5,   10,     60,    600};

// Brings the gauges up to date, then hands out the registry.
class Refreshed : public prometheus::Collectable {
 public:
  Refreshed(std::shared_ptr<Registry> registry, std::function<void()> refresh)
      : registry_(std::move(registry)), refresh_(std::move(refresh)) {}
  std::vector<prometheus::MetricFamily> Collect() const override {
    refresh_();
    return registry_->Collect();
  }

 private:
  const std::shared_ptr<Registry> registry_;
  const std::function<void()> refresh_;
};

}  // namespace

class Metrics::State {
 public:
  std::shared_ptr<Registry> registry = std::make_shared<Registry>();
  Family<Counter>& calls = BuildCounter()
                               .Name("tributary_rpc_total")
                               .Help("RPCs that have ended")
                               .Register(*registry);
  Family<Histogram>& seconds = BuildHistogram()
                                   .Name("tributary_rpc_seconds")
                                   .Help("Time from start to end of an RPC")
                                   .Register(*registry);
  Family<Counter>& bytes = BuildCounter()
                               .Name("tributary_blob_bytes_total")
                               .Help("Bytes of blobs that were moved")
                               .Register(*registry);
  Counter& received = bytes.Add({{"direction", "received"}});
  Counter& sent = bytes.Add({{"direction", "sent"}});
  Family<Gauge>& streams = BuildGauge()
                               .Name("tributary_open_streams")
                               .Help("Streams that are open")
                               .Register(*registry);
  Gauge& uploads = streams.Add({{"kind", "upload"}});
  Gauge& downloads = streams.Add({{"kind", "download"}});
  Gauge& watches = streams.Add({{"kind", "watch"}});
  Gauge& jobs = BuildGauge()
                    .Name("tributary_jobs")
                    .Help("Jobs that wait or run")
                    .Register(*registry)
                    .Add({});
  Gauge& disk_free = BuildGauge()
                         .Name("tributary_disk_free_bytes")
                         .Help("Free space of the blob store's file system")
                         .Register(*registry)
                         .Add({});
  Gauge& blob_bytes = BuildGauge()
                          .Name("tributary_blob_stored_bytes")
                          .Help("Bytes of all blobs")
                          .Register(*registry)
                          .Add({});
  Family<Gauge>& contributions = BuildGauge()
                                     .Name("tributary_contributions")
                                     .Help("Contributions by state")
                                     .Register(*registry);
  Family<Gauge>& certificates =
      BuildGauge()
          .Name("tributary_certificate_expire_time_seconds")
          .Help("End of a certificate, seconds since the Unix epoch")
          .Register(*registry);
  Gauge& ca_expires = certificates.Add({{"certificate", "ca"}});
  Gauge& server_expires = certificates.Add({{"certificate", "server"}});
  std::unique_ptr<prometheus::Exposer> exposer;
  std::shared_ptr<prometheus::Collectable> refreshed;
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

void Metrics::CountCall(std::string_view method, const std::string& code,
                        double seconds) {
  const std::string name(method);
  state_->calls.Add({{"method", name}, {"code", code}}).Increment();
  state_->seconds.Add({{"method", name}}, kSeconds).Observe(seconds);
}

void Metrics::CountBytes(uint64_t received, uint64_t sent) {
  state_->received.Increment(static_cast<double>(received));
  state_->sent.Increment(static_cast<double>(sent));
}

void Metrics::SetGauges(const Gauges& gauges) {
  State& state = *state_;
  state.uploads.Set(static_cast<double>(gauges.uploads));
  state.downloads.Set(static_cast<double>(gauges.downloads));
  state.watches.Set(static_cast<double>(gauges.watches));
  state.jobs.Set(static_cast<double>(gauges.jobs));
  state.disk_free.Set(static_cast<double>(gauges.disk_free_bytes));
  state.blob_bytes.Set(static_cast<double>(gauges.blob_bytes));
  state.ca_expires.Set(static_cast<double>(gauges.ca_expire_time_s));
  state.server_expires.Set(static_cast<double>(gauges.server_expire_time_s));
  for (const auto& [name, count] : gauges.contributions) {
    state.contributions.Add({{"state", name}}).Set(static_cast<double>(count));
  }
}

Status Metrics::Expose(const std::string& address,
                       std::function<void()> refresh) {
  try {
    state_->exposer = std::make_unique<prometheus::Exposer>(address, 1);
    state_->refreshed =
        std::make_shared<Refreshed>(state_->registry, std::move(refresh));
    state_->exposer->RegisterCollectable(state_->refreshed);
  } catch (const std::exception& error) {
    return Unavailable(
        "metrics_address: cannot listen on {} ({}); choose another address and "
        "port, or leave it empty",
        address, error.what());
  }
  return absl::OkStatus();
}

void Metrics::Hide() { state_->exposer.reset(); }

std::string Metrics::Text() const {
  return prometheus::TextSerializer().Serialize(state_->registry->Collect());
}

}  // namespace tributary::coordinator
