#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace tributary::coordinator {

// What the coordinator counts, for Prometheus. Thread-safe. Names begin with
// tributary_; labels hold methods, codes and states, never names of resources.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // One RPC that has ended.
  void CountCall(std::string_view method, const std::string& code,
                 double seconds);
  // Bytes of blobs.
  void CountBytes(uint64_t received, uint64_t sent);

  // Values that are asked for at every scrape.
  struct Gauges {
    int64_t uploads = 0;  // open streams
    int64_t downloads = 0;
    int64_t watches = 0;
    int64_t jobs = 0;  // that wait or run
    uint64_t disk_free_bytes = 0;
    uint64_t blob_bytes = 0;
    // Ends of certificates, seconds since the Unix epoch.
    int64_t ca_expire_time_s = 0;
    int64_t server_expire_time_s = 0;
    // Contributions by state, such as {"ACCEPTED", 3}.
    std::vector<std::pair<std::string, int64_t>> contributions;
  };
  void SetGauges(const Gauges& gauges);

  // Serves /metrics on `address` ("127.0.0.1:9464"), which should be reachable
  // from this machine only: it is plain HTTP. `refresh` is called before every
  // answer. UNAVAILABLE: the address cannot be listened on.
  Status Expose(const std::string& address, std::function<void()> refresh);

  // Ends what Expose began; answers that are being made are waited for.
  void Hide();

  // The text of /metrics.
  std::string Text() const;

 private:
  class State;
  const std::unique_ptr<State> state_;
};

}  // namespace tributary::coordinator
