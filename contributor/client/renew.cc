#include "contributor/client/renew.h"

namespace tributary::contributor {

StatusOr<bool> RenewIfDue(const Home& home, const Identity& identity,
                          CoordinatorClient& client, const Clock& clock) {
  if (!IsRenewalDue(identity.certificate, clock)) {
    return false;
  }
  ASSIGN_OR_RETURN(
      const crypto::SigningRequest request,
      crypto::SigningRequest::Create(identity.key, identity.contributor_id));
  ASSIGN_OR_RETURN(const v1::RenewCertificateResponse response,
                   client.RenewCertificate(request.ToPem()));
  const IssuedCertificates issued = {
      .certificate_pem = response.certificate_pem(),
      .ca_certificate_pem = response.ca_certificate_pem(),
      .signing_certificate_pem = response.signing_certificate_pem()};
  RETURN_IF_ERROR(CheckIssued(issued,
                              {.federation = identity.federation,
                               .contributor_id = identity.contributor_id,
                               .key = identity.key.public_key(),
                               .trusted_ca = identity.ca},
                              clock));
  RETURN_IF_ERROR(StoreCertificates(home, issued));
  return true;
}

}  // namespace tributary::contributor
