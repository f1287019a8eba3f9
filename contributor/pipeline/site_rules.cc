#include "contributor/pipeline/site_rules.h"

#include "common/base/files.h"
#include "common/config/text_config.h"
#include "common/crypto/key.h"

namespace tributary::contributor {
namespace {

constexpr uint64_t kMaxKeyBytes = 64 << 10;

}  // namespace

Status ApplySitePolicy(const std::filesystem::path& file,
                       config::ContributorConfig& config) {
  config::SitePolicy policy;
  const Status loaded = config::LoadTextConfig(file, &policy);
  if (absl::IsNotFound(loaded)) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(loaded);
  config::SitePolicy& own = *config.mutable_policy();
  // A list of the site replaces the other one, it does not lengthen it.
  if (!policy.approver_keys().empty()) {
    own.clear_approver_keys();
  }
  if (!policy.allowed_anchors().empty()) {
    own.clear_allowed_anchors();
  }
  own.MergeFrom(policy);
  // What a site allows, it says itself.
  own.set_allow_router_statistics(policy.allow_router_statistics());
  return absl::OkStatus();
}

StatusOr<SiteRules> RulesOf(const config::ContributorConfig& config) {
  const config::SitePolicy& policy = config.policy();
  SiteRules rules;
  rules.min_documents = policy.min_documents();
  rules.min_tokens = policy.min_tokens();
  rules.max_upload_bytes = policy.max_upload_bytes();
  rules.version = policy.version();
  rules.approval = policy.approval() == config::SitePolicy::AUTOMATIC
                       ? SiteRules::Approval::kAutomatic
                       : SiteRules::Approval::kPerson;
  rules.required_approvers = policy.required_approvers();
  rules.allowed_anchors.assign(policy.allowed_anchors().begin(),
                               policy.allowed_anchors().end());
  rules.statistics = policy.forbid_statistics()
                         ? SiteRules::Statistics::kWithhold
                         : SiteRules::Statistics::kSend;
  rules.router_statistics = policy.allow_router_statistics()
                                ? SiteRules::Statistics::kSend
                                : SiteRules::Statistics::kWithhold;
  for (const std::string& path : policy.approver_keys()) {
    StatusOr<std::string> pem = ReadFile(path, kMaxKeyBytes);
    RETURN_IF_ERROR(Annotate(pem.status(), "policy.approver_keys"));
    StatusOr<crypto::PublicKey> key = crypto::PublicKey::FromPem(*pem);
    RETURN_IF_ERROR(Annotate(key.status(), "policy.approver_keys: " + path));
    rules.approver_keys.push_back(*std::move(key));
  }
  return rules;
}

}  // namespace tributary::contributor
