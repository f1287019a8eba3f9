#pragma once

#include <memory>
#include <mutex>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "coordinator/service/server_keys.h"

namespace tributary::coordinator {

// The federation's keys while the server runs, and their replacement. Every
// change is in the home's files first and reaches new connections within
// rpc::kReloadSeconds; connections that stand go on. Safe to use from any
// thread.
class TrustKeeper {
 public:
  // As LoadServerKeys; `clock` outlives it.
  static StatusOr<std::unique_ptr<TrustKeeper>> Load(const Home& home,
                                                     const Settings& settings,
                                                     const Clock& clock);

  // The keys at this moment.
  std::shared_ptr<const ServerKeys> keys() const;
  // Signs anchors, releases and receipts; stays the same.
  const crypto::PrivateKey& signer() const { return signer_; }

  // Another key for the server or the operator (kServerName, kOperatorName),
  // and a certificate for it. What fails leaves the old one.
  Status RotateKey(const std::string& name, const crypto::PrivateKey& key);
  // Makes a second CA, in memory only, and waits until new connections trust
  // it. FAILED_PRECONDITION: there is one.
  StatusOr<crypto::CertificateAuthority> PrepareCa();
  // What PrepareCa made issues from now on. FAILED_PRECONDITION: there is a
  // second CA.
  Status StartCaRotation(const crypto::CertificateAuthority& next);
  // Lets new connections see a certificate of the second CA and waits until
  // they do: who hears that the old one no longer counts will not meet it
  // again. FAILED_PRECONDITION: there is no second CA.
  Status PrepareFinish();
  // Takes back what was prepared and not done.
  Status Restore();
  // The second CA takes over: certificates of server, signer and operator are
  // issued by it, and the old one is no longer trusted. FAILED_PRECONDITION:
  // there is no second one.
  Status FinishCaRotation();

  // Blocks until new connections use what the files hold.
  static void AwaitReload();

 private:
  TrustKeeper(const Home& home, const Settings& settings, const Clock& clock,
              ServerKeys keys);
  // Loads the files again. change_ is held.
  Status Reload();
  Status CheckNoNextCa() const;

  const Home home_;
  const Settings settings_;
  const Clock& clock_;
  const crypto::PrivateKey signer_;
  // One change at a time.
  std::mutex change_;
  mutable std::mutex mutex_;
  std::shared_ptr<const ServerKeys> keys_;  // guarded by mutex_
};

}  // namespace tributary::coordinator
