#include "coordinator/service/call_log.h"

#include "common/base/log.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/service/metrics.h"

namespace tributary::coordinator {

void CallLog::Record(const FinishedCall& call, const Status& status) {
  const std::string code = absl::StatusCodeToString(status.code());
  metrics_.CountCall(call.method, code, call.seconds);
  metrics_.CountBytes(call.bytes_received, call.bytes_sent);
  std::string line = fmt::format(
      "rpc method={} caller={} code={} ms={:.1f}", call.method,
      call.caller.empty() ? "-" : call.caller, code, call.seconds * 1e3);
  if (call.bytes_received > 0) {
    line += fmt::format(" bytes_received={}", call.bytes_received);
  }
  if (call.bytes_sent > 0) {
    line += fmt::format(" bytes_sent={}", call.bytes_sent);
  }
  if (const auto info = rpc::GetErrorInfo(status)) {
    line += " reason=" + info->reason;
  }
  // What is a fault of this side is told in full.
  if (absl::IsInternal(status) || absl::IsDataLoss(status)) {
    log::Error("{} message={}", line, std::string(status.message()));
  } else {
    log::Info("{}", line);
  }
}

}  // namespace tributary::coordinator
