#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::coordinator {

class Metrics;

// One RPC that has ended.
struct FinishedCall {
  std::string_view method;  // "BlobService.Write"
  std::string caller;       // identity URI, "" for a peer without certificate
  double seconds = 0;
  uint64_t bytes_received = 0;  // of blobs
  uint64_t bytes_sent = 0;
};

// Where every RPC ends up: one structured line in the log and the metrics. Says
// who called what with which outcome, never what a message held. Thread-safe.
class CallLog {
 public:
  explicit CallLog(Metrics& metrics) : metrics_(metrics) {}
  void Record(const FinishedCall& call, const Status& status);

 private:
  Metrics& metrics_;
};

}  // namespace tributary::coordinator
