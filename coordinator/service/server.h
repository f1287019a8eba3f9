#pragma once

#include <grpcpp/server.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "common/base/cancellation.h"
#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "coordinator/admission/task_runner.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/service/call_log.h"
#include "coordinator/service/change_notifier.h"
#include "coordinator/service/job_runner.h"
#include "coordinator/service/metrics.h"
#include "coordinator/service/service_context.h"
#include "coordinator/service/stream_registry.h"
#include "coordinator/service/trust_keeper.h"
#include "coordinator/service/upload_registry.h"
#include "coordinator/service/work_pool.h"
#include "coordinator/storage/blob_catalog.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/database.h"
#include "coordinator/storage/home.h"
#include "coordinator/storage/settings.h"

namespace tributary::coordinator {

// A running coordinator: state, job thread and gRPC server of one home.
class Server {
 public:
  struct Options {
    std::filesystem::path home;
    Settings settings;
    const Clock& clock = SystemClock();
    std::string version;
    // Runs jobs on a thread; otherwise RunJobs does, for tests.
    enum class Jobs { kThread, kManual } jobs = Jobs::kThread;
  };

  // Starts everything and writes <home>/address. FAILED_PRECONDITION: another
  // process uses the home; UNAVAILABLE: the address cannot be listened on;
  // otherwise as Database::Open and LoadServerKeys.
  static StatusOr<std::unique_ptr<Server>> Start(
      Options options, std::unique_ptr<TaskRunner> runner);
  // Shuts down.
  ~Server();

  // host:port that it listens on.
  const std::string& address() const { return address_; }

  // Graceful drain: not serving, jobs stopped (they stay queued), streams ended
  // at a durable point, address file removed. Once.
  void Shutdown();

  // Runs what is due on this thread (Jobs::kManual).
  Status RunJobs() { return jobs_->RunDue(); }
  // Ends streams that stand still; done by itself every few seconds.
  void EndIdleStreams() { streams_.EndIdle(); }
  // What Prometheus would get.
  std::string MetricsText();

 private:
  class Services;

  Server(Options options, FileLock lock, std::unique_ptr<TrustKeeper> trust,
         std::unique_ptr<Database> database,
         std::unique_ptr<DirectoryBlobStore> store,
         std::unique_ptr<TaskRunner> runner);
  Status Listen();
  Status ExposeMetrics();
  // Brings the gauges up to date.
  void Measure();
  // Ends idle uploads; collects garbage and old request answers.
  void Maintain();

  const Options options_;
  const Home home_;
  const FileLock lock_;
  const std::unique_ptr<TrustKeeper> trust_;
  const std::unique_ptr<Database> database_;
  const std::unique_ptr<DirectoryBlobStore> store_;
  const std::unique_ptr<TaskRunner> runner_;
  BlobCatalog catalog_;
  const Core core_;
  Metrics metrics_;
  CallLog calls_;
  UploadRegistry uploads_;
  StreamRegistry streams_;
  WorkPool pool_;
  ChangeNotifier changes_;
  CancellationToken draining_;
  std::string address_;
  std::string public_address_;
  std::unique_ptr<JobRunner> jobs_;
  std::unique_ptr<Services> services_;
  std::unique_ptr<grpc::Server> server_;

  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread maintenance_;
};

}  // namespace tributary::coordinator
