#include "contributor/client/enrol.h"

#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/crypto/certificate.h"
#include "common/crypto/digest.h"
#include "common/crypto/key.h"
#include "contributor/client/grpc_client.h"
#include "contributor/client/identity.h"
#include "contributor/client/renew.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

// The request of an enrolment that has begun: repeated as it is.
constexpr char kPendingFile[] = "pending.json";
// Of federation.json: the hash of the invitation that was used last.
constexpr char kInvitationField[] = "invitation";

std::string PendingKey(const manifest::Invitation& invitation) {
  return crypto::Sha256Hex(invitation.federation + "\n" +
                           invitation.contributor_id + "\n" +
                           invitation.secret);
}

struct Pending {
  std::string request_id;
  std::string signing_request_pem;
};

// The pending request of this invitation; NOT_FOUND when there is none.
StatusOr<Pending> LoadPending(const fs::path& folder,
                              const manifest::Invitation& invitation) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFile(folder / kPendingFile, 1 << 16));
  ASSIGN_OR_RETURN(const Json value, ParseJson(text));
  for (const char* key : {"invitation", "request_id", "signing_request"}) {
    if (!value.is_object() || !value.contains(key) || !value[key].is_string()) {
      return NotFound("no pending request");
    }
  }
  if (value["invitation"].get<std::string>() != PendingKey(invitation)) {
    return NotFound("no pending request");
  }
  return Pending{
      .request_id = value["request_id"].get<std::string>(),
      .signing_request_pem = value["signing_request"].get<std::string>()};
}

// The key of an identity stays: approvals, the ledger and withdrawals are
// signed with it.
StatusOr<crypto::PrivateKey> KeyFor(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / kFederationFile, error)) {
    return crypto::PrivateKey::Load(folder / kKeyFile);
  }
  ASSIGN_OR_RETURN(crypto::PrivateKey key, crypto::PrivateKey::Generate());
  RETURN_IF_ERROR(key.Save(folder / kKeyFile));
  return key;
}

StatusOr<Pending> MakePending(const fs::path& folder,
                              const manifest::Invitation& invitation) {
  RETURN_IF_ERROR(MakeDirectories(folder));
  std::error_code error;
  fs::permissions(folder, fs::perms::owner_all, error);
  if (error) {
    return ErrnoStatus(error.value(), "protect " + folder.string());
  }
  ASSIGN_OR_RETURN(const crypto::PrivateKey key, KeyFor(folder));
  ASSIGN_OR_RETURN(
      const crypto::SigningRequest request,
      crypto::SigningRequest::Create(key, invitation.contributor_id));
  const Pending pending = {.request_id = RandomUuid(),
                           .signing_request_pem = request.ToPem()};
  ASSIGN_OR_RETURN(
      const std::string text,
      DumpJson({{"invitation", PendingKey(invitation)},
                {"request_id", pending.request_id},
                {"signing_request", pending.signing_request_pem}}));
  RETURN_IF_ERROR(WriteFileAtomic(folder / kPendingFile, text, 0600));
  return pending;
}

// Temporary files of enrolments that were killed; they may hold keys.
void RemoveLeftovers(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().filename().string().find(".tmp-") != std::string::npos) {
      std::error_code ignored;
      fs::remove(entry.path(), ignored);
    }
  }
}

Status CheckExpiry(const manifest::Invitation& invitation, const Clock& clock) {
  const auto end = static_cast<double>(invitation.expire_time_s);
  if (clock.NowSeconds() <= end) {
    return absl::OkStatus();
  }
  return Unauthenticated(
      "the invitation for {} expired at {} (it is {} here): ask the "
      "coordinator's operator for a new one",
      invitation.contributor_id, FormatTime(end),
      FormatTime(clock.NowSeconds()));
}

// Whether this home may use the invitation: it has no identity, or the one
// that is invited, by another invitation.
Status CheckFits(const Home& home, const manifest::Invitation& invitation) {
  const StatusOr<std::string> text =
      ReadFile(home.Identity() / kFederationFile, 1 << 16);
  if (absl::IsNotFound(text.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(const Json value, ParseJson(*text));
  const auto field = [&value](const char* key) -> std::string {
    const bool there =
        value.is_object() && value.contains(key) && value[key].is_string();
    return there ? value[key].get<std::string>() : "";
  };
  if (field(kInvitationField) == PendingKey(invitation)) {
    return FailedPrecondition(
        "{} has been enrolled with this very invitation; there is nothing to "
        "do",
        home.root().string());
  }
  if (field("federation") != invitation.federation ||
      field("contributor_id") != invitation.contributor_id) {
    return FailedPrecondition(
        "{} has the identity of contributors/{} in federation {}, which is "
        "never overwritten; the invitation is for contributors/{} in {}: use "
        "another --home",
        home.root().string(), field("contributor_id"), field("federation"),
        invitation.contributor_id, invitation.federation);
  }
  return absl::OkStatus();
}

StatusOr<Pending> PendingRequest(const fs::path& folder,
                                 const manifest::Invitation& invitation,
                                 const Clock& clock) {
  StatusOr<Pending> pending = LoadPending(folder, invitation);
  if (pending.ok()) {
    return pending;
  }
  RETURN_IF_ERROR(CheckExpiry(invitation, clock));
  return MakePending(folder, invitation);
}

}  // namespace

EnrolCall EnrolOverNetwork(const manifest::Invitation& invitation,
                           const RetryOptions& retry) {
  return [options = GrpcClientOptions{
              .address = invitation.address,
              .tls = {.ca_certificate_pem = invitation.ca_certificate_pem},
              .retry = retry}](const v1::EnrolRequest& request) {
    return CallEnrol(options, request);
  };
}

Status Enrol(const Home& home, const manifest::Invitation& invitation,
             const EnrolCall& call, const Clock& clock) {
  const fs::path folder = home.Identity();
  RETURN_IF_ERROR(CheckFits(home, invitation));
  ASSIGN_OR_RETURN(const crypto::Certificate ca,
                   crypto::Certificate::FromPem(invitation.ca_certificate_pem));
  ASSIGN_OR_RETURN(const Pending pending,
                   PendingRequest(folder, invitation, clock));
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Load(folder / kKeyFile));

  v1::EnrolRequest request;
  request.set_request_id(pending.request_id);
  request.set_contributor_id(invitation.contributor_id);
  request.set_invitation_secret(invitation.secret);
  request.set_certificate_signing_request_pem(pending.signing_request_pem);
  ASSIGN_OR_RETURN(const v1::EnrolResponse response, call(request));

  const IssuedCertificates issued = {
      .certificate_pem = response.certificate_pem(),
      .ca_certificate_pem = response.ca_certificate_pem(),
      .signing_certificate_pem = response.signing_certificate_pem(),
      .trust = CasOf(response.trust())};
  RETURN_IF_ERROR(CheckIssued(issued,
                              {.federation = invitation.federation,
                               .contributor_id = invitation.contributor_id,
                               .key = key.public_key(),
                               .trusted_cas = {ca}},
                              clock));
  RETURN_IF_ERROR(StoreCertificates(home, issued));
  ASSIGN_OR_RETURN(const std::string federation,
                   DumpJson({{"address", invitation.address},
                             {"contributor_id", invitation.contributor_id},
                             {"federation", invitation.federation},
                             {kInvitationField, PendingKey(invitation)}},
                            2));
  RETURN_IF_ERROR(WriteFileAtomic(folder / kFederationFile, federation));
  std::error_code error;
  fs::remove(folder / kPendingFile, error);
  RemoveLeftovers(folder);
  return absl::OkStatus();
}

}  // namespace tributary::contributor
