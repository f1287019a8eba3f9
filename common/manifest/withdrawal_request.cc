#include "common/manifest/withdrawal_request.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/crypto/digest.h"
#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"
#include "common/manifest/statement.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kWhat = "withdrawal request";

Json ToValue(const WithdrawalRequest& request) {
  return {{"federation", request.federation},
          {"contribution", request.contribution},
          {"contributor", request.contributor},
          {"request_time_s", request.request_time_s}};
}

Subject SubjectOf(const WithdrawalRequest& request, std::string_view json) {
  return {.name = request.contribution, .sha256 = crypto::Sha256Hex(json)};
}

}  // namespace

StatusOr<std::string> WithdrawalRequest::ToJson() const {
  ASSIGN_OR_RETURN(std::string json, CanonicalJson(ToValue(*this)));
  RETURN_IF_ERROR(FromJson(json).status());
  return json;
}

StatusOr<WithdrawalRequest> WithdrawalRequest::FromJson(std::string_view json) {
  JsonDocument document(kWhat, json, {.max_bytes = 64u << 10, .max_depth = 2});
  const JsonReader root = document.root();
  WithdrawalRequest request{
      .federation = root.Field("federation").Id(),
      .contribution = root.Field("contribution").Id(),
      .contributor = root.Field("contributor").Id(),
      .request_time_s = root.Field("request_time_s").Int(0)};
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(CheckCanonical(kWhat, json, ToValue(request)));
  return request;
}

StatusOr<std::string> SignWithdrawalRequest(const WithdrawalRequest& request,
                                            const crypto::PrivateKey& key) {
  ASSIGN_OR_RETURN(std::string json, request.ToJson());
  Subject subject = SubjectOf(request, json);
  return SignStatement({.kind = std::string(kWithdrawalRequestKind),
                        .subjects = {std::move(subject)},
                        .predicate_json = std::move(json)},
                       key);
}

StatusOr<WithdrawalRequest> OpenWithdrawalRequest(
    std::string_view envelope_json,
    const std::vector<crypto::PublicKey>& keys) {
  Status failed = Unauthenticated(
      "withdrawal request: no key was ever certified for this contributor");
  for (const crypto::PublicKey& key : keys) {
    const StatusOr<Statement> statement =
        OpenStatement(envelope_json, kWithdrawalRequestKind, key);
    failed = statement.status();
    if (!statement.ok()) {
      continue;
    }
    ASSIGN_OR_RETURN(WithdrawalRequest request,
                     WithdrawalRequest::FromJson(statement->predicate_json));
    RETURN_IF_ERROR(CheckSubject(
        *statement, SubjectOf(request, statement->predicate_json)));
    return request;
  }
  return failed;
}

}  // namespace tributary::manifest
