#include "coordinator/service/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>

#include "common/base/log.h"
#include "common/rpc/blob_stream.h"
#include "common/rpc/channel.h"
#include "coordinator/service/admin_service.h"
#include "coordinator/service/blob_service.h"
#include "coordinator/service/contribution_service.h"
#include "coordinator/service/enrolment_service.h"
#include "coordinator/service/preflight_service.h"
#include "coordinator/service/reader_services.h"
#include "coordinator/service/trust_service.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/storage/request_store.h"

namespace tributary::coordinator {
namespace {

constexpr std::chrono::seconds kDrainTime(5);
constexpr std::chrono::seconds kMaintenanceInterval(10);
constexpr int kCollectEvery = 360;  // maintenance intervals: an hour
constexpr int64_t kKeepRequestsS = 30 * crypto::kDaySeconds;

// The library gives reflection to every server of a program that links it.
class WithoutReflection : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*
                         plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) {
      return plugin->name() == "proto_server_reflection";
    });
  }
};
// Of gRPC: short calls only, streams hold none.
constexpr int kMaxThreads = 64;
// All connections together; beyond it gRPC ends some of them.
constexpr size_t kMaxBufferBytes = 1 << 30;
constexpr int kMinPoolThreads = 2;
// Health is asked for by these names, and by "" for the whole server.
constexpr const char* kServices[] = {
    "tributary.v1.AdminService",        "tributary.v1.AnchorService",
    "tributary.v1.AuditService",        "tributary.v1.BlobService",
    "tributary.v1.ContributionService", "tributary.v1.EnrolmentService",
    "tributary.v1.PreflightService",    "tributary.v1.ReleaseService",
    "tributary.v1.TrustService"};

int PoolThreads() {
  return std::max<int>(kMinPoolThreads,
                       static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

class Server::Services {
 public:
  explicit Services(const ServiceContext& context)
      : context_(context),
        enrolment_(context_),
        anchors_(context_),
        blobs_(context_),
        contributions_(context_),
        releases_(context_),
        admin_(context_),
        audit_(context_),
        preflight_(context_),
        trust_(context_) {}

  void Register(grpc::ServerBuilder& builder) {
    builder.RegisterService(&enrolment_);
    builder.RegisterService(&anchors_);
    builder.RegisterService(&blobs_);
    builder.RegisterService(&contributions_);
    builder.RegisterService(&releases_);
    builder.RegisterService(&admin_);
    builder.RegisterService(&audit_);
    builder.RegisterService(&preflight_);
    builder.RegisterService(&trust_);
  }

 private:
  const ServiceContext context_;
  EnrolmentServiceImpl enrolment_;
  AnchorServiceImpl anchors_;
  BlobServiceImpl blobs_;
  ContributionServiceImpl contributions_;
  ReleaseServiceImpl releases_;
  AdminServiceImpl admin_;
  AuditServiceImpl audit_;
  PreflightServiceImpl preflight_;
  TrustServiceImpl trust_;
};

Server::Server(Options options, FileLock lock,
               std::unique_ptr<TrustKeeper> trust,
               std::unique_ptr<Database> database,
               std::unique_ptr<DirectoryBlobStore> store,
               std::unique_ptr<TaskRunner> runner)
    : options_(std::move(options)),
      home_(options_.home),
      lock_(std::move(lock)),
      trust_(std::move(trust)),
      database_(std::move(database)),
      store_(std::move(store)),
      runner_(std::move(runner)),
      catalog_(*database_, *store_, options_.clock),
      core_{home_,      options_.settings, options_.clock,
            *database_, catalog_,          trust_->signer()},
      calls_(metrics_),
      streams_(options_.clock,
               {.idle_s = rpc::kIdleStreamSeconds,
                .per_identity = options_.settings.server.max_streams}),
      pool_(PoolThreads()),
      changes_(*database_),
      jobs_(std::make_unique<JobRunner>(core_, *runner_)) {}

StatusOr<std::unique_ptr<Server>> Server::Start(
    Options options, std::unique_ptr<TaskRunner> runner) {
  const Home home(options.home);
  StatusOr<FileLock> lock = FileLock::TryAcquire(home.lock());
  if (absl::IsFailedPrecondition(lock.status())) {
    return FailedPrecondition(
        "{}: another coordinator process uses this home (it holds the lock); "
        "stop it first",
        home.root().string());
  }
  RETURN_IF_ERROR(lock.status());
  ASSIGN_OR_RETURN(std::unique_ptr<TrustKeeper> trust,
                   TrustKeeper::Load(home, options.settings, options.clock));
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                   Database::Open(home.database(), Database::Mode::kExisting));
  ASSIGN_OR_RETURN(std::unique_ptr<DirectoryBlobStore> store,
                   DirectoryBlobStore::Create(
                       {.blobs = home.blobs(), .uploads = home.uploads()}));
  std::unique_ptr<Server> server(
      new Server(std::move(options), *std::move(lock), std::move(trust),
                 std::move(database), std::move(store), std::move(runner)));
  RETURN_IF_ERROR(server->Listen());
  return server;
}

Status Server::Listen() {
  // What a process that died left half-written.
  if (const auto report = catalog_.Collect(); !report.ok()) {
    log::Error("collection: {}", report.status().ToString());
  }
  const std::string& listen = options_.settings.listen_address;
  services_ = std::make_unique<Services>(
      ServiceContext{.core = core_,
                     .trust = *trust_,
                     .runner = *runner_,
                     .jobs = *jobs_,
                     .uploads = uploads_,
                     .streams = streams_,
                     .changes = changes_,
                     .pool = pool_,
                     .calls = calls_,
                     .draining = draining_,
                     .public_address = public_address_,
                     .version = options_.version});
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  if (!options_.settings.server.reflection) {
    builder.SetOption(std::make_unique<WithoutReflection>());
  }
  rpc::ConfigureServer(builder);
  grpc::ResourceQuota quota("coordinator");
  quota.SetMaxThreads(kMaxThreads);
  quota.Resize(kMaxBufferBytes);
  builder.SetResourceQuota(quota);
  int port = 0;
  builder.AddListeningPort(
      listen, rpc::ServerCredentials(ServerTlsFiles(home_)), &port);
  services_->Register(builder);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return Unavailable(
        "cannot listen on {}: the port is in use or the address is not this "
        "machine's; change listen_address in {}",
        listen, home_.config().string());
  }
  for (const char* service : kServices) {
    server_->GetHealthCheckService()->SetServingStatus(service, true);
  }
  std::string host = listen.substr(0, listen.rfind(':'));
  if (IsWildcard(HostOf(listen))) {
    host = "127.0.0.1";
  }
  address_ = host + ":" + std::to_string(port);
  const std::vector<std::string>& hosts = options_.settings.public_hosts;
  public_address_ =
      !options_.settings.public_address.empty()
          ? options_.settings.public_address
          : (hosts.empty() ? host : hosts[0]) + ":" + std::to_string(port);
  if (options_.jobs == Options::Jobs::kThread) {
    RETURN_IF_ERROR(jobs_->Start());
  } else {
    RETURN_IF_ERROR(MakeDirectories(home_.jobs()));
  }
  RETURN_IF_ERROR(ExposeMetrics());
  maintenance_ = std::thread([this] { Maintain(); });
  return WriteFileAtomic(home_.address(), address_ + "\n");
}

Status Server::ExposeMetrics() {
  const std::string& address = options_.settings.server.metrics_address;
  return address.empty() ? absl::OkStatus()
                         : metrics_.Expose(address, [this] { Measure(); });
}

void Server::Measure() {
  const auto streams = streams_.Counts();
  Metrics::Gauges gauges{
      .uploads = streams[0], .downloads = streams[1], .watches = streams[2]};
  gauges.disk_free_bytes = store_->FreeBytes().value_or(0);
  const auto keys = trust_->keys();
  gauges.ca_expire_time_s = keys->ca.certificate().not_after_s();
  gauges.server_expire_time_s = keys->server_certificate.not_after_s();
  const Status status = database_->Transact([&](Transaction& transaction) {
    gauges.jobs = static_cast<int64_t>(JobStore(transaction).List().size());
    gauges.blob_bytes =
        static_cast<uint64_t>(BlobTable(transaction).TotalBytes());
    gauges.contributions = ContributionStore(transaction).CountByState();
    return absl::OkStatus();
  });
  if (!status.ok()) {
    log::Error("metrics: {}", status.ToString());
  }
  metrics_.SetGauges(gauges);
}

std::string Server::MetricsText() {
  Measure();
  return metrics_.Text();
}

void Server::Maintain() {
  int intervals = 0;
  while (true) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (stop_.wait_for(lock, kMaintenanceInterval,
                         [&] { return stopping_; })) {
        return;
      }
    }
    EndIdleStreams();
    if (++intervals % kCollectEvery != 0) {
      continue;
    }
    if (const auto report = catalog_.Collect(); !report.ok()) {
      log::Error("collection: {}", report.status().ToString());
    }
    const Status status = database_->Transact([&](Transaction& transaction) {
      RequestStore(transaction).RemoveBefore(core_.now_s() - kKeepRequestsS);
      return absl::OkStatus();
    });
    if (!status.ok()) {
      log::Error("maintenance: {}", status.ToString());
    }
  }
}

void Server::Shutdown() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) {
      return;
    }
    stopping_ = true;
  }
  stop_.notify_all();
  draining_.Cancel();
  if (server_ != nullptr) {
    if (auto* health = server_->GetHealthCheckService()) {
      health->SetServingStatus(false);
    }
    std::error_code error;
    std::filesystem::remove(home_.address(), error);
    streams_.EndAll(Unavailable("the coordinator shuts down; try again later"));
    server_->Shutdown(std::chrono::system_clock::now() + kDrainTime);
  }
  jobs_->Stop();
  metrics_.Hide();
  if (maintenance_.joinable()) {
    maintenance_.join();
  }
}

Server::~Server() { Shutdown(); }

}  // namespace tributary::coordinator
