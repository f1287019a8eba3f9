#include "coordinator/service/release_experts.h"

#include <algorithm>
#include <charconv>

#include "common/crypto/dsse.h"
#include "common/manifest/release_manifest.h"
#include "common/manifest/resource_name.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/service/paging.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/contributor_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;

constexpr char kLatestRelease[] = "latest";
constexpr int64_t kMaxExperts = 50;
constexpr size_t kMaxPageBytes = 2 << 20;

StatusOr<v1::ReleaseExpert> ReadExpert(
    Transaction& transaction, const manifest::ReleaseManifest::Expert& expert) {
  const auto row = ContributionStore(transaction).Find(expert.contribution);
  if (!row || row->envelope_json.empty()) {
    return DataLoss("contributions/{}: its signed manifest is gone",
                    expert.contribution);
  }
  ASSIGN_OR_RETURN(const crypto::Envelope envelope,
                   crypto::Envelope::FromJson(row->envelope_json));
  v1::ReleaseExpert out;
  out.set_contribution(
      manifest::ResourceName(Collection::kContributions, expert.contribution));
  out.set_manifest_envelope_json(row->envelope_json);
  for (const crypto::Envelope::Signature& signature : envelope.signatures) {
    const auto certificate =
        ContributorStore(transaction)
            .FindCertificate(expert.contributor, signature.key_id);
    if (certificate) {
      out.set_certificate_pem(certificate->pem);
    }
  }
  if (out.certificate_pem().empty()) {
    return DataLoss("contributions/{}: the certificate of its key is gone",
                    expert.contribution);
  }
  return out;
}

}  // namespace

// The release of a name, as far as this caller may know of it.
StatusOr<ReleaseRow> FindRelease(Transaction& transaction,
                                 const std::string& name,
                                 const Caller& caller) {
  ASSIGN_OR_RETURN(const std::string id,
                   ParseResourceName(Collection::kReleases, name));
  ReleaseStore releases(transaction);
  if (id == kLatestRelease) {
    const auto latest = releases.Latest();
    if (!latest) {
      return rpc::WithErrorInfo(
          NotFound("releases/latest: no release is served; the anchor alone "
                   "remains"),
          {.reason = rpc::kNoRelease});
    }
    return *latest;
  }
  ASSIGN_OR_RETURN(const int64_t number, manifest::ParseReleaseName(name));
  const auto row = releases.Find(number);
  // What was never served exists for operators only.
  if (!row ||
      (!caller.is_operator() && (row->state == ReleaseState::kBuilding ||
                                 row->state == ReleaseState::kFailed))) {
    return NotFound("{}: no such release", name);
  }
  if (row->state == ReleaseState::kWithdrawn && !caller.is_operator()) {
    return rpc::WithErrorInfo(
        FailedPrecondition("{} was withdrawn: {}; stop using it and fetch "
                           "releases/latest",
                           name, row->reason),
        {.reason = rpc::kReleaseWithdrawn});
  }
  return *row;
}

Status ListReleaseExperts(const Core& core, const Caller& caller,
                          const v1::ListReleaseExpertsRequest& request,
                          v1::ListReleaseExpertsResponse& response) {
  const std::string list = "experts of " + request.name();
  ASSIGN_OR_RETURN(const Page page,
                   ParsePage(request.page_size(), request.page_token(), list));
  size_t index = 0;
  const char* const end = page.after.data() + page.after.size();
  if (!page.after.empty() &&
      std::from_chars(page.after.data(), end, index).ptr != end) {
    return InvalidArgument("page_token: malformed; start from the first page");
  }
  return core.database.Transact([&](Transaction& transaction) -> Status {
    ASSIGN_OR_RETURN(const ReleaseRow release,
                     FindRelease(transaction, request.name(), caller));
    if (!release.served()) {
      return FailedPrecondition("{}: {}, not served", request.name(),
                                ToString(release.state));
    }
    ASSIGN_OR_RETURN(
        const manifest::ReleaseManifest manifest,
        manifest::ReleaseManifest::FromJson(release.manifest_json));
    const int64_t most = std::min(page.size, kMaxExperts);
    size_t bytes = 0;
    while (index < manifest.experts.size() && response.experts_size() < most &&
           bytes < kMaxPageBytes) {
      ASSIGN_OR_RETURN(v1::ReleaseExpert expert,
                       ReadExpert(transaction, manifest.experts[index]));
      bytes += expert.ByteSizeLong();
      *response.add_experts() = std::move(expert);
      ++index;
    }
    if (index < manifest.experts.size()) {
      response.set_next_page_token(NextPageToken(list, std::to_string(index)));
    }
    return absl::OkStatus();
  });
}

}  // namespace tributary::coordinator
