#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "common/base/cancellation.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "contributor/cache/blob_cache.h"
#include "contributor/cache/home.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/client/identity.h"
#include "contributor/client/retry_call.h"
#include "contributor/pipeline/contribute.h"
#include "contributor/pipeline/worker_runner.h"
#include "tributary/config/contributor.pb.h"

namespace tributary::contributor {

struct SessionOptions {
  std::filesystem::path home;
  // Seconds without contact after which a call gives up; 0: never.
  double retry_for_s = 5.0;
  const CancellationToken* cancellation = nullptr;
  // Told when a call has to wait for the coordinator.
  std::function<void(const Status&, double delay_s)> on_wait;
};

// A home that was opened: configuration, identity, cache, worker, and a client
// that connects on its first call.
class Session {
 public:
  // NOT_FOUND when the home is not initialised; INVALID_ARGUMENT naming field
  // and file for a bad configuration. Once the certificate has ended the
  // client's calls are UNAUTHENTICATED; what needs no coordinator goes on.
  static StatusOr<std::unique_ptr<Session>> Open(const SessionOptions& options);

  const Home& home() const { return home_; }
  const config::ContributorConfig& config() const { return config_; }
  const Identity& identity() const { return *identity_; }
  CoordinatorClient& client() { return *client_; }
  BlobCache& cache() { return *cache_; }
  // Id of the configured contribution.
  std::string contribution() const;

  // For the pipeline; valid until the next FollowTrust or RenewCertificate.
  PipelineContext Context(StageProgress progress);

  // Learns whom to trust from now on, such as a CA that takes over; whether
  // that is anything new.
  StatusOr<bool> FollowTrust();

  // Whether `failure` can come of not knowing whom to trust by now: it is
  // UNAUTHENTICATED, and FollowTrust has learned something. Then what failed is
  // worth another attempt, with another Context.
  bool LearnedTrustAfter(const Status& failure);

  // The same; then gets a fresh certificate when it is due and goes on with it.
  Status RenewCertificate();

  // The same over a connection of its own, for another thread than the one that
  // uses this session: the files are replaced, the session's connections follow
  // them, and it learns the rest at its next RenewCertificate.
  Status RenewFiles() const;

  // Keeps the coordinator's newest audit checkpoint. DATA_LOSS when it does not
  // follow the one kept before: the coordinator's history was rewritten.
  Status CheckAudit();

 private:
  Session(const SessionOptions& options, config::ContributorConfig config);
  void Connect();
  // How to call again, and when that is in vain.
  RetryOptions Retry(double give_up_after_s) const;
  // Takes over what the files hold; whether that is anything else.
  StatusOr<bool> ReloadIdentity();

  const SessionOptions options_;
  const Home home_;
  const config::ContributorConfig config_;
  std::optional<Identity> identity_;
  std::unique_ptr<BlobCache> cache_;
  std::unique_ptr<WorkerRunner> worker_;
  std::unique_ptr<CoordinatorClient> client_;
};

// Waits until no other command changes this home. CANCELLED when interrupted.
StatusOr<FileLock> LockHome(const Home& home,
                            const CancellationToken& cancellation);

// The configuration of a home with its defaults. INVALID_ARGUMENT naming file
// and field.
StatusOr<config::ContributorConfig> LoadConfig(
    const Home& home, const std::string& contributor_id);

}  // namespace tributary::contributor
