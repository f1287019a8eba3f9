#include "common/manifest/invitation.h"

#include <nlohmann/json.hpp>

#include "common/base/json.h"
#include "common/base/names.h"
#include "common/base/text.h"
#include "common/crypto/base64.h"
#include "common/crypto/certificate.h"
#include "common/manifest/json_reader.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kType = "tributary-invitation/v1";
constexpr size_t kSecretBytes = 32;
constexpr int64_t kLastTime = 253'402'300'799;  // 9999-12-31T23:59:59Z

std::string ReadSecret(const JsonReader& reader) {
  const std::string hex = reader.String(0, 2 * kSecretBytes);
  StatusOr<std::string> secret = crypto::DecodeHex(hex);
  if (!secret.ok() || secret->size() != kSecretBytes) {
    // The message does not hold what was got: it may be most of a secret.
    reader.Fail("wanted 64 hexadecimal digits");
    return {};
  }
  return *std::move(secret);
}

}  // namespace

StatusOr<std::string> Invitation::ToJson() const {
  ASSIGN_OR_RETURN(
      std::string json,
      DumpJson({{"type", kType},
                {"federation", federation},
                {"contributor_id", contributor_id},
                {"address", address},
                {"secret", ToHex(secret)},
                {"expire_time", FormatTime(static_cast<double>(expire_time_s))},
                {"expire_time_s", expire_time_s},
                {"ca_certificate_pem", ca_certificate_pem},
                {"ca_fingerprint", ca_fingerprint}},
               2));
  RETURN_IF_ERROR(FromJson(json).status());
  return json + "\n";
}

StatusOr<Invitation> Invitation::FromJson(std::string_view json) {
  JsonDocument document("invitation", json,
                        {.max_bytes = 128u << 10, .max_depth = 4});
  const JsonReader root = document.root();
  Invitation invitation;
  root.Field("type").Constant(kType);
  invitation.federation = root.Field("federation").Id();
  invitation.contributor_id = root.Field("contributor_id").Id();
  invitation.address = root.Field("address").String(1, 300);
  const StatusOr<HostPort> address = ParseHostPort(invitation.address);
  if (!address.ok() || address->port == 0) {
    root.Field("address").Fail(
        fmt::format("got \"{}\", wanted host:port", invitation.address));
  }
  invitation.secret = ReadSecret(root.Field("secret"));
  invitation.expire_time_s = root.Field("expire_time_s").Int(0, kLastTime);
  root.Field("expire_time")
      .Constant(FormatTime(static_cast<double>(invitation.expire_time_s)));
  const JsonReader pem = root.Field("ca_certificate_pem");
  invitation.ca_certificate_pem = pem.String(1, 64u << 10);
  const JsonReader fingerprint = root.Field("ca_fingerprint");
  invitation.ca_fingerprint = fingerprint.String(1, 80);
  RETURN_IF_ERROR(document.Finish());

  const StatusOr<crypto::Certificate> ca =
      crypto::Certificate::FromPem(invitation.ca_certificate_pem);
  if (!ca.ok()) {
    return Annotate(ca.status(), "invitation: ca_certificate_pem");
  }
  if (ca->fingerprint() != invitation.ca_fingerprint) {
    return InvalidArgument(
        "invitation: ca_fingerprint: got \"{}\", but the certificate has {}",
        invitation.ca_fingerprint, ca->fingerprint());
  }
  return invitation;
}

}  // namespace tributary::manifest
