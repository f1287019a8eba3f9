#include "contributor/egress/consent.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "common/base/json.h"
#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"
#include "common/manifest/statement.h"

namespace tributary::contributor {
namespace {

constexpr std::string_view kKind = "egress-approval";
constexpr size_t kMaxApprovals = 64;
constexpr size_t kMaxText = 1024;
constexpr size_t kMaxEnvelope = 64 << 10;

manifest::Subject SubjectOf(const ApprovalStatement& statement) {
  return {.name = statement.contribution, .sha256 = statement.report_digest};
}

StatusOr<ApprovalStatement> OpenApproval(const std::string& envelope_json,
                                         const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(const manifest::Statement statement,
                   manifest::OpenStatement(envelope_json, kKind, key));
  manifest::JsonDocument document("approval", statement.predicate_json);
  const manifest::JsonReader root = document.root();
  ApprovalStatement approval = {
      .contribution = root.Field("contribution").Id(),
      .report_digest = root.Field("report_digest").Digest(),
      .approver = root.Field("approver").String(1, kMaxText),
      .time_s = root.Field("time_s").Int(0)};
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(manifest::CheckSubject(statement, SubjectOf(approval)));
  return approval;
}

// The key of `rules` that signed this approval of this report.
StatusOr<std::string> SignerOf(const Approval& approval, const Consent& consent,
                               const SiteRules& rules,
                               const std::string& contribution) {
  if (approval.envelope_json.empty()) {
    return Unauthenticated(
        "the approval of {} is not signed; the policy names approvers' keys: "
        "run `egress approve --key FILE`",
        approval.approver);
  }
  for (const crypto::PublicKey& key : rules.approver_keys) {
    const StatusOr<ApprovalStatement> opened =
        OpenApproval(approval.envelope_json, key);
    if (opened.ok() && opened->contribution == contribution &&
        opened->report_digest == consent.report_digest &&
        opened->approver == approval.approver) {
      return key.key_id();
    }
  }
  return Unauthenticated(
      "the approval of {} is of another report or not signed with one of the "
      "{} keys of policy.approver_keys",
      approval.approver, rules.approver_keys.size());
}

}  // namespace

StatusOr<std::string> Consent::ToJson() const {
  Json list = Json::array();
  for (const Approval& approval : approvals) {
    list.push_back({{"approver", approval.approver},
                    {"time_s", approval.time_s},
                    {"envelope", approval.envelope_json}});
  }
  return DumpJson({{"report_digest", report_digest},
                   {"policy_version", policy_version},
                   {"mode", mode},
                   {"approvals", std::move(list)}},
                  2);
}

StatusOr<Consent> Consent::FromJson(std::string_view json,
                                    const std::string& what) {
  manifest::JsonDocument document(what, json);
  const manifest::JsonReader root = document.root();
  Consent consent = {
      .report_digest = root.Field("report_digest").Digest(),
      .policy_version = root.Field("policy_version").String(0, kMaxText),
      .mode = root.Field("mode").String(1, kMaxText),
      .approvals = {}};
  for (const manifest::JsonReader& item :
       root.Field("approvals").List(1, kMaxApprovals)) {
    consent.approvals.push_back(
        {.approver = item.Field("approver").String(1, kMaxText),
         .time_s = item.Field("time_s").Int(0),
         .envelope_json = item.Field("envelope").String(0, kMaxEnvelope)});
  }
  RETURN_IF_ERROR(document.Finish());
  return consent;
}

std::string Consent::Names() const {
  std::string names;
  for (const Approval& approval : approvals) {
    names += (names.empty() ? "" : ", ") + approval.approver;
  }
  return names;
}

StatusOr<std::string> SignApproval(const ApprovalStatement& statement,
                                   const crypto::PrivateKey& key) {
  ASSIGN_OR_RETURN(
      std::string predicate,
      manifest::CanonicalJson({{"contribution", statement.contribution},
                               {"report_digest", statement.report_digest},
                               {"approver", statement.approver},
                               {"time_s", statement.time_s}}));
  return manifest::SignStatement({.kind = std::string(kKind),
                                  .subjects = {SubjectOf(statement)},
                                  .predicate_json = std::move(predicate)},
                                 key);
}

StatusOr<int> CountApprovals(const Consent& consent, const SiteRules& rules,
                             const std::string& contribution) {
  std::set<std::string> persons;
  std::set<std::string> keys;
  for (const Approval& approval : consent.approvals) {
    persons.insert(approval.approver);
    if (!rules.approver_keys.empty()) {
      ASSIGN_OR_RETURN(const std::string key,
                       SignerOf(approval, consent, rules, contribution));
      keys.insert(key);
    }
  }
  const size_t count = rules.approver_keys.empty()
                           ? persons.size()
                           : std::min(persons.size(), keys.size());
  return static_cast<int>(count);
}

Status CheckConsent(const Consent& consent, const SiteRules& rules,
                    const std::string& contribution) {
  ASSIGN_OR_RETURN(const int count,
                   CountApprovals(consent, rules, contribution));
  if (count >= rules.required_approvers) {
    return absl::OkStatus();
  }
  return FailedPrecondition(
      "contributions/{} has {} of {} approvals ({}): another person has to "
      "read `tributary-contributor egress show` and run "
      "`tributary-contributor egress approve --approver NAME`",
      contribution, count, rules.required_approvers, consent.Names());
}

}  // namespace tributary::contributor
