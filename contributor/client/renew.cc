#include "contributor/client/renew.h"

namespace tributary::contributor {
namespace {

ExpectedIdentity Expected(const Identity& identity) {
  return {.federation = identity.federation,
          .contributor_id = identity.contributor_id,
          .key = identity.key.public_key(),
          .trusted_cas = identity.cas()};
}

bool IsKnown(const Identity& identity, const v1::TrustBundle& bundle) {
  std::vector<std::string> known;
  for (const crypto::Certificate& ca : identity.cas()) {
    known.push_back(ca.ToPem());
  }
  return known == CasOf(bundle) &&
         identity.signer.ToPem() == bundle.signing_certificate_pem();
}

}  // namespace

std::vector<std::string> CasOf(const v1::TrustBundle& bundle) {
  return {bundle.ca_certificates_pem().begin(),
          bundle.ca_certificates_pem().end()};
}

StatusOr<bool> FollowTrust(const Home& home, const Identity& identity,
                           CoordinatorClient& client, const Clock& clock) {
  const StatusOr<v1::TrustBundle> bundle = client.GetTrustBundle();
  if (absl::IsUnimplemented(bundle.status())) {
    return false;  // an older coordinator, which never changes its CA
  }
  RETURN_IF_ERROR(bundle.status());
  if (IsKnown(identity, *bundle)) {
    return false;
  }
  const IssuedCertificates issued = {
      .signing_certificate_pem = bundle->signing_certificate_pem(),
      .trust = CasOf(*bundle)};
  RETURN_IF_ERROR(CheckIssued(issued, Expected(identity), clock));
  RETURN_IF_ERROR(StoreCertificates(home, issued));
  return true;
}

StatusOr<bool> RenewIfDue(const Home& home, const Identity& identity,
                          CoordinatorClient& client, const Clock& clock) {
  const bool of_this_ca =
      identity.certificate
          .VerifyChain(identity.ca, identity.certificate.not_before_s())
          .ok();
  if (of_this_ca && !IsRenewalDue(identity.certificate, clock)) {
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
      .signing_certificate_pem = response.signing_certificate_pem(),
      .trust = CasOf(response.trust())};
  RETURN_IF_ERROR(CheckIssued(issued, Expected(identity), clock));
  RETURN_IF_ERROR(StoreCertificates(home, issued));
  return true;
}

}  // namespace tributary::contributor
