#pragma once

#include <string>

#include "common/base/status.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/service_context.h"
#include "coordinator/storage/contributor_store.h"

namespace tributary::coordinator {

// Contributors' certificates: 30 days.
inline constexpr int64_t kContributorCertificateS = 30 * crypto::kDaySeconds;

// Certifies the key of a signing request for a contributor and records it.
// INVALID_ARGUMENT: malformed request. What else the request asks for is
// ignored.
StatusOr<CertificateRow> IssueContributorCertificate(
    const ServiceContext& context, Transaction& transaction,
    const std::string& contributor, const std::string& request_pem);

struct ReaderRequest {
  std::string id;
  std::string request_pem;
  int64_t lifetime_s = 0;
};

// Certifies the key of a signing request for a reader; in the audit log, and
// kept nowhere else. INVALID_ARGUMENT: malformed request. FAILED_PRECONDITION:
// the reader is revoked.
StatusOr<crypto::Certificate> IssueReader(const ServiceContext& context,
                                          Transaction& transaction,
                                          const Caller& caller,
                                          const ReaderRequest& request);

// Records the certificate that a contributor showed if the database does not
// know its key: it was issued after the backup that the database was restored
// from. The connection has verified it.
Status RecordShownCertificate(const Core& core, Transaction& transaction,
                              const Caller& caller,
                              const grpc::ServerContextBase& call);

// Makes an invitation and stores the hash of its secret. The secret derives
// from the signer's key and `request_id`, so that a repeated request gets it
// again though it is stored nowhere.
std::string InvitationSecret(const ServiceContext& context,
                             const std::string& request_id,
                             const std::string& contributor);

}  // namespace tributary::coordinator
