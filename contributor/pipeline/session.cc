#include "contributor/pipeline/session.h"

#include <chrono>
#include <thread>

#include "common/base/files.h"
#include "common/config/defaults.h"
#include "common/config/text_config.h"
#include "contributor/client/audit_history.h"
#include "contributor/client/grpc_client.h"
#include "contributor/client/renew.h"
#include "contributor/pipeline/site_rules.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

// For what is tried again anyway.
constexpr double kBriefRetryS = 5;

// Stands in where the worker's executable is missing: commands that need none
// work all the same.
class MissingWorker : public WorkerRunner {
 public:
  explicit MissingWorker(Status status) : status_(std::move(status)) {}
  StatusOr<job::Result> Run(const job::Job& /*job*/,
                            const ProgressSink& /*on_progress*/) override {
    return status_;
  }

 private:
  const Status status_;
};

}  // namespace

StatusOr<config::ContributorConfig> LoadConfig(
    const Home& home, const std::string& contributor_id) {
  config::ContributorConfig config;
  RETURN_IF_ERROR(config::LoadTextConfig(home.Config(), &config));
  RETURN_IF_ERROR(ApplySitePolicy(kSitePolicyFile, config));
  StatusOr<config::ContributorConfig> completed =
      config::CompleteConfig(config, contributor_id);
  if (!completed.ok()) {
    return Annotate(completed.status(), home.Config().string());
  }
  return completed;
}

Session::Session(const SessionOptions& options,
                 config::ContributorConfig config)
    : options_(options), home_(options.home), config_(std::move(config)) {}

StatusOr<std::unique_ptr<Session>> Session::Open(
    const SessionOptions& options) {
  const Home home(options.home);
  RETURN_IF_ERROR(home.RequireInitialised());
  ASSIGN_OR_RETURN(Identity identity, LoadIdentity(home));
  ASSIGN_OR_RETURN(config::ContributorConfig config,
                   LoadConfig(home, identity.contributor_id));
  std::unique_ptr<Session> session(new Session(options, std::move(config)));
  session->identity_.emplace(std::move(identity));
  ASSIGN_OR_RETURN(session->cache_, BlobCache::Create(home.Cache()));
  auto worker = CreateProcessWorker({.limits = session->config_.worker(),
                                     .log_file = home.root() / "worker.log",
                                     .cancellation = options.cancellation});
  if (worker.ok()) {
    session->worker_ = *std::move(worker);
  } else {
    session->worker_ = std::make_unique<MissingWorker>(worker.status());
  }
  session->Connect();
  return session;
}

void Session::Connect() {
  RetryOptions retry = Retry(options_.retry_for_s);
  retry.on_wait = options_.on_wait;
  client_ = CreateGrpcClient({.address = identity_->address,
                              .tls = identity_->Tls(),
                              .retry = std::move(retry)});
}

RetryOptions Session::Retry(double give_up_after_s) const {
  // Of the file, which another thread or process may have replaced. The server
  // refuses a certificate that has ended as it would a stranger's.
  const auto check = [path = home_.Identity() / kCertificateFile]() -> Status {
    ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                     crypto::Certificate::Load(path));
    return CheckNotExpired(certificate, SystemClock());
  };
  return {.give_up_after_s = give_up_after_s,
          .cancellation = options_.cancellation,
          .check = check};
}

std::string Session::contribution() const { return config_.contribution(); }

PipelineContext Session::Context(StageProgress progress) {
  return {.home = home_,
          .config = config_,
          .identity = *identity_,
          .client = *client_,
          .cache = *cache_,
          .worker = *worker_,
          .clock = SystemClock(),
          .progress = std::move(progress)};
}

StatusOr<bool> Session::ReloadIdentity() {
  ASSIGN_OR_RETURN(Identity identity, LoadIdentity(home_));
  const auto texts = [](const Identity& of) {
    const rpc::TlsIdentity tls = of.Tls();
    return tls.ca_certificate_pem + tls.certificate_pem + of.signer.ToPem();
  };
  if (texts(identity) == texts(*identity_)) {
    return false;
  }
  identity_.emplace(std::move(identity));
  Connect();
  return true;
}

StatusOr<bool> Session::FollowTrust() {
  // The files may be ahead of this session, by as much as a whole change of the
  // CA: the coordinator is no stranger to them.
  ASSIGN_OR_RETURN(const bool ahead, ReloadIdentity());
  ASSIGN_OR_RETURN(
      const bool changed,
      contributor::FollowTrust(home_, *identity_, *client_, SystemClock()));
  if (changed) {
    RETURN_IF_ERROR(ReloadIdentity().status());
  }
  return ahead || changed;
}

bool Session::LearnedTrustAfter(const Status& failure) {
  return absl::IsUnauthenticated(failure) && FollowTrust().value_or(false);
}

Status Session::RenewCertificate() {
  RETURN_IF_ERROR(FollowTrust().status());
  ASSIGN_OR_RETURN(const bool renewed,
                   RenewIfDue(home_, *identity_, *client_, SystemClock()));
  return renewed ? ReloadIdentity().status() : absl::OkStatus();
}

Status Session::RenewFiles() const {
  ASSIGN_OR_RETURN(Identity identity, LoadIdentity(home_));
  const auto connect = [this](const Identity& as) {
    return CreateGrpcClient(
        {.address = as.address, .tls = as.Tls(), .retry = Retry(kBriefRetryS)});
  };
  auto client = connect(identity);
  ASSIGN_OR_RETURN(
      const bool changed,
      contributor::FollowTrust(home_, identity, *client, SystemClock()));
  if (changed) {
    ASSIGN_OR_RETURN(identity, LoadIdentity(home_));
    client = connect(identity);
  }
  return RenewIfDue(home_, identity, *client, SystemClock()).status();
}

Status Session::CheckAudit() {
  return CheckAuditHistory(home_, *identity_, *client_);
}

StatusOr<FileLock> LockHome(const Home& home,
                            const CancellationToken& cancellation) {
  RETURN_IF_ERROR(home.RequireInitialised());
  while (true) {
    StatusOr<FileLock> lock = FileLock::TryAcquire(home.Lock());
    if (lock.ok() || !absl::IsFailedPrecondition(lock.status())) {
      return lock;
    }
    RETURN_IF_ERROR(cancellation.Check());
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace tributary::contributor
