#include "coordinator/service/trust_keeper.h"

#include <chrono>
#include <thread>
#include <utility>

#include "common/base/files.h"
#include "common/base/log.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

Status Rename(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  return error ? ErrnoStatus(error.value(), "replace " + to.string())
               : absl::OkStatus();
}

}  // namespace

TrustKeeper::TrustKeeper(const Home& home, const Settings& settings,
                         const Clock& clock, ServerKeys keys)
    : home_(home),
      settings_(settings),
      clock_(clock),
      signer_(keys.signer),
      keys_(std::make_shared<const ServerKeys>(std::move(keys))) {}

StatusOr<std::unique_ptr<TrustKeeper>> TrustKeeper::Load(
    const Home& home, const Settings& settings, const Clock& clock) {
  ASSIGN_OR_RETURN(ServerKeys keys, LoadServerKeys(home, settings, clock));
  return std::unique_ptr<TrustKeeper>(
      new TrustKeeper(home, settings, clock, std::move(keys)));
}

std::shared_ptr<const ServerKeys> TrustKeeper::keys() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return keys_;
}

Status TrustKeeper::Reload() {
  ASSIGN_OR_RETURN(ServerKeys keys, LoadServerKeys(home_, settings_, clock_));
  const std::lock_guard<std::mutex> lock(mutex_);
  keys_ = std::make_shared<const ServerKeys>(std::move(keys));
  return absl::OkStatus();
}

Status TrustKeeper::CheckNoNextCa() const {
  const auto present = keys();
  if (!present->next_ca) {
    return absl::OkStatus();
  }
  return FailedPrecondition(
      "the CA is being replaced already: {} takes over; finish that first",
      present->next_ca->certificate().fingerprint());
}

Status TrustKeeper::RotateKey(const std::string& name,
                              const crypto::PrivateKey& key) {
  const std::lock_guard<std::mutex> lock(change_);
  ASSIGN_OR_RETURN(const crypto::PrivateKey present,
                   crypto::PrivateKey::Load(home_.key(name)));
  // A certificate that is of another key is issued again, now or, after a
  // crash, at the next start.
  RETURN_IF_ERROR(key.Save(home_.key(name)));
  if (const Status reloaded = Reload(); !reloaded.ok()) {
    const Status kept = present.Save(home_.key(name));
    Reload().IgnoreError();
    return kept.ok() ? reloaded : kept;
  }
  log::Info("the {} has a new key", name);
  return absl::OkStatus();
}

StatusOr<crypto::CertificateAuthority> TrustKeeper::PrepareCa() {
  const std::lock_guard<std::mutex> lock(change_);
  RETURN_IF_ERROR(CheckNoNextCa());
  const crypto::Certificate present = keys()->ca.certificate();
  ASSIGN_OR_RETURN(crypto::CertificateAuthority next,
                   crypto::CertificateAuthority::CreateSelfSigned(
                       present.common_name(), kCaLifetimeS, clock_));
  // Trusted before it issues: nobody who renews is turned away.
  RETURN_IF_ERROR(WriteFileAtomic(ServerTlsFiles(home_).ca_certificates,
                                  JoinPem({next.certificate(), present})));
  AwaitReload();
  return next;
}

Status TrustKeeper::StartCaRotation(const crypto::CertificateAuthority& next) {
  const std::lock_guard<std::mutex> lock(change_);
  RETURN_IF_ERROR(CheckNoNextCa());
  // The certificate comes last: with it there is a second CA.
  RETURN_IF_ERROR(next.key().Save(home_.key(kNextCaName)));
  RETURN_IF_ERROR(WriteFileAtomic(home_.certificate(kNextCaName),
                                  next.certificate().ToPem()));
  RETURN_IF_ERROR(Reload());
  log::Info("a new CA issues: {}", next.certificate().fingerprint());
  return absl::OkStatus();
}

Status TrustKeeper::PrepareFinish() {
  const std::lock_guard<std::mutex> lock(change_);
  const auto present = keys();
  if (!present->next_ca) {
    return FailedPrecondition("the CA is not being replaced; start that first");
  }
  RETURN_IF_ERROR(ShowCertificateOf(home_, *present, *present->next_ca));
  AwaitReload();
  return absl::OkStatus();
}

Status TrustKeeper::Restore() {
  const std::lock_guard<std::mutex> lock(change_);
  return Reload();
}

Status TrustKeeper::FinishCaRotation() {
  const std::lock_guard<std::mutex> lock(change_);
  if (!keys()->next_ca) {
    return FailedPrecondition("the CA is not being replaced; start that first");
  }
  // See LoadServerKeys about a crash in between.
  RETURN_IF_ERROR(Rename(home_.key(kNextCaName), home_.key(kCaName)));
  RETURN_IF_ERROR(
      Rename(home_.certificate(kNextCaName), home_.certificate(kCaName)));
  RETURN_IF_ERROR(Reload());
  log::Info("the old CA is no longer trusted");
  return absl::OkStatus();
}

void TrustKeeper::AwaitReload() {
  std::this_thread::sleep_for(std::chrono::seconds(rpc::kReloadSeconds) +
                              std::chrono::milliseconds(500));
}

}  // namespace tributary::coordinator
