#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "common/base/cancellation.h"
#include "coordinator/admission/task_runner.h"
#include "coordinator/service/call_log.h"
#include "coordinator/service/change_notifier.h"
#include "coordinator/service/job_runner.h"
#include "coordinator/service/stream_registry.h"
#include "coordinator/service/trust_keeper.h"
#include "coordinator/service/upload_registry.h"
#include "coordinator/service/work_pool.h"
#include "coordinator/storage/core.h"

namespace tributary::coordinator {

// What all services share. Owns nothing.
struct ServiceContext {
  const Core& core;
  // CAs and certificates.
  TrustKeeper& trust;
  TaskRunner& runner;
  JobRunner& jobs;
  UploadRegistry& uploads;
  StreamRegistry& streams;
  ChangeNotifier& changes;
  // Hashes, writes and fsyncs for streams.
  WorkPool& pool;
  CallLog& calls;
  // Cancelled when the server drains: long calls end.
  const CancellationToken& draining;
  // host:port that invitations carry.
  const std::string& public_address;
  std::string version;
};

}  // namespace tributary::coordinator
