#pragma once

// Everything that this site asks of its coordinator. An interface, so that the
// pipeline and the daemon are tested without a network.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/blob_name.h"
#include "contributor/cache/blob_cache.h"
#include "contributor/egress/approval.h"
#include "tributary/v1/anchor.pb.h"
#include "tributary/v1/audit.pb.h"
#include "tributary/v1/contribution.pb.h"
#include "tributary/v1/enrolment.pb.h"
#include "tributary/v1/preflight.pb.h"
#include "tributary/v1/release.pb.h"
#include "tributary/v1/trust.pb.h"

namespace tributary::contributor {

// Bytes so far and bytes in all.
using TransferProgress = std::function<void(uint64_t done, uint64_t total)>;

// Transient errors are retried inside (RetryOptions). Every method may return:
// UNAVAILABLE: the coordinator cannot be reached; the message has its address.
// UNAUTHENTICATED: the other side is not of this federation, or this site's
// certificate ended. PERMISSION_DENIED: this contributor was revoked.
// CANCELLED: interrupted.
class CoordinatorClient {
 public:
  virtual ~CoordinatorClient() = default;

  // NOT_FOUND: no such anchor; "anchors/current" names the newest.
  virtual StatusOr<v1::Anchor> GetAnchor(const std::string& name) = 0;

  // Fetches a blob into the cache, going on from what is there. DATA_LOSS when
  // the bytes do not have the digest.
  virtual Status Download(const manifest::BlobName& blob, BlobCache& cache,
                          const TransferProgress& progress) = 0;

  // Registers the signed manifest. Repeating it is harmless. ALREADY_EXISTS:
  // the name has another manifest. FAILED_PRECONDITION: another anchor is
  // current. RESOURCE_EXHAUSTED: quota.
  virtual StatusOr<v1::Contribution> CreateContribution(
      const ApprovedUpload& upload) = 0;

  // Sends the expert file unless the coordinator has it, going on from what it
  // holds. INVALID_ARGUMENT: the bytes were refused; never sent again.
  virtual Status Upload(const ApprovedUpload& upload,
                        const TransferProgress& progress) = 0;

  // `contribution` is an id, here and below. FAILED_PRECONDITION: blobs are
  // missing.
  virtual StatusOr<v1::Contribution> SubmitContribution(
      const std::string& contribution) = 0;

  // NOT_FOUND: this contributor has none of that name.
  virtual StatusOr<v1::Contribution> GetContribution(
      const std::string& contribution) = 0;

  // Calls `on_change` for the present state and every later one until it
  // returns false.
  virtual Status WatchContribution(
      const std::string& contribution,
      const std::function<bool(const v1::Contribution&)>& on_change) = 0;

  // Opts out; repeating it returns the same withdrawal.
  virtual StatusOr<v1::Withdrawal> WithdrawContribution(
      const std::string& contribution) = 0;

  // NOT_FOUND: it was not withdrawn.
  virtual StatusOr<v1::Withdrawal> GetWithdrawal(
      const std::string& contribution) = 0;

  // "releases/{number}" or "releases/latest". FAILED_PRECONDITION: withdrawn.
  virtual StatusOr<v1::Release> GetRelease(const std::string& name) = 0;

  // All of them, newest first.
  virtual StatusOr<std::vector<v1::Release>> ListReleases() = 0;

  // What the owners of its experts signed, in the order of the manifest.
  virtual StatusOr<std::vector<v1::ReleaseExpert>> ListReleaseExperts(
      const std::string& name) = 0;

  // Numbers only.
  virtual Status ReportEvaluation(
      const std::string& release,
      const std::vector<v1::Evaluation>& evaluations) = 0;

  virtual StatusOr<v1::RenewCertificateResponse> RenewCertificate(
      const std::string& certificate_signing_request_pem) = 0;

  // Whom to trust from now on. UNIMPLEMENTED: an older coordinator.
  virtual StatusOr<v1::TrustBundle> GetTrustBundle() {
    return absl::UnimplementedError("GetTrustBundle");
  }

  // Sends `request_bytes` of padding and gets `response_bytes`, at most 1 MiB
  // each. UNIMPLEMENTED: an older coordinator.
  virtual StatusOr<v1::ProbeResponse> Probe(int64_t /*request_bytes*/,
                                            int64_t /*response_bytes*/) {
    return absl::UnimplementedError("Probe");
  }

  // The signed head of the coordinator's audit log after its first `size`
  // records, or now (0). OUT_OF_RANGE: it has fewer.
  virtual StatusOr<v1::Checkpoint> GetCheckpoint(int64_t size) = 0;
};

}  // namespace tributary::contributor
