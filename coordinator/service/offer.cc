#include "coordinator/service/offer.h"

#include <nlohmann/json.hpp>

#include "common/base/text.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/resource_name.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/admission/admission.h"
#include "coordinator/admission/gates.h"
#include "coordinator/admission/offered_blobs.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/storage/upload_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ResourceName;

Status CheckAnchor(Transaction& transaction,
                   const manifest::ExpertManifest& expert) {
  const auto current = AnchorStore(transaction).Current();
  if (!current) {
    return FailedPrecondition("no anchor is published yet");
  }
  if (current->digest != expert.anchor_digest) {
    return rpc::WithErrorInfo(
        FailedPrecondition(
            "manifest: made for anchor {}, the current one is anchors/{} with "
            "digest {}; fetch it and run the pipeline again",
            expert.anchor_digest, current->id, current->digest),
        {.reason = rpc::kStaleAnchor});
  }
  ASSIGN_OR_RETURN(const manifest::AnchorManifest anchor,
                   manifest::AnchorManifest::FromJson(current->manifest_json));
  return CheckOffer(expert, anchor);
}

Status CheckQuota(const Core& core, Transaction& transaction,
                  const Caller& caller,
                  const manifest::ExpertManifest& expert) {
  QuotaSettings quotas = core.settings.quotas;
  if (const auto row = ContributorStore(transaction).Find(caller.id)) {
    quotas.max_contributions =
        row->policy.max_contributions.value_or(quotas.max_contributions);
    quotas.max_bytes = static_cast<uint64_t>(
        row->policy.max_bytes.value_or(static_cast<int64_t>(quotas.max_bytes)));
    RETURN_IF_ERROR(CheckWidths(expert, row->policy.max_width));
  }
  const int64_t live = ContributionStore(transaction).CountLive(caller.id);
  if (live >= quotas.max_contributions) {
    return rpc::WithErrorInfo(
        ResourceExhausted("contributors/{} has {} contributions, at most {} "
                          "are allowed; withdraw one first",
                          caller.id, live, quotas.max_contributions),
        {.reason = rpc::kQuota});
  }
  const uint64_t used = static_cast<uint64_t>(
      UploadStore(transaction).ReservedBytes(caller.id, expert.contribution));
  const uint64_t offered =
      expert.blob.size +
      (expert.router_statistics ? expert.router_statistics->size : 0);
  if (used + offered > quotas.max_bytes) {
    return rpc::WithErrorInfo(
        ResourceExhausted("contributors/{} uses {}, another {} would exceed "
                          "its {}; withdraw one first",
                          caller.id, HumanBytes(used), HumanBytes(offered),
                          HumanBytes(quotas.max_bytes)),
        {.reason = rpc::kQuota});
  }
  return absl::OkStatus();
}

bool FailedInAdmission(const ContributionRow& row) {
  if (row.decision_json.empty()) {
    return false;
  }
  const StatusOr<Decision> decision = Decision::FromJson(row.decision_json);
  return decision.ok() && decision->outcome == Outcome::kError;
}

}  // namespace

StatusOr<ContributionRow> Offer(const Core& core, Transaction& transaction,
                                const Caller& caller,
                                const std::string& envelope_json,
                                OfferMode mode) {
  ASSIGN_OR_RETURN(const SignedManifest offer,
                   OpenOffer(transaction, core.settings.federation, caller.id,
                             envelope_json));
  const manifest::ExpertManifest& expert = offer.manifest;
  ContributionStore contributions(transaction);
  if (const auto present = contributions.Find(expert.contribution)) {
    if (present->contributor == caller.id &&
        present->manifest_digest == offer.digest) {
      return *present;
    }
    return AlreadyExists(
        "contributions/{} is taken by another manifest; choose another name",
        expert.contribution);
  }
  RETURN_IF_ERROR(CheckAnchor(transaction, expert));
  RETURN_IF_ERROR(CheckQuota(core, transaction, caller, expert));
  ContributionRow row{.id = expert.contribution,
                      .contributor = caller.id,
                      .anchor_digest = expert.anchor_digest,
                      .blob = expert.blob.ToString(),
                      .manifest_digest = offer.digest,
                      .envelope_json = envelope_json,
                      .create_time_s = core.now_s(),
                      .update_time_s = core.now_s()};
  if (expert.router_statistics) {
    row.extra_bytes = static_cast<int64_t>(expert.router_statistics->size);
  }
  ASSIGN_OR_RETURN(row.manifest_json, expert.ToJson());
  if (mode == OfferMode::kValidateOnly) {
    return row;
  }
  contributions.Add(row);
  RETURN_IF_ERROR(core.Audit(
      transaction,
      {.actor = caller.uri,
       .action = "contribution.create",
       .subject = ResourceName(Collection::kContributions, row.id)},
      {{"manifest_digest", row.manifest_digest}, {"blob", row.blob}}));
  return row;
}

StatusOr<ContributionRow> Submit(const Core& core, Transaction& transaction,
                                 const Caller& caller, const std::string& id,
                                 OfferMode mode) {
  ContributionStore contributions(transaction);
  auto row = contributions.Find(id);
  if (!row || row->contributor != caller.id) {
    return NotFound("contributions/{}: you have no such contribution", id);
  }
  const bool open = row->state == ContributionState::kCreated ||
                    row->state == ContributionState::kUploading;
  if (row->state == ContributionState::kWithdrawn ||
      row->state == ContributionState::kPurged) {
    return FailedPrecondition("contributions/{} was withdrawn", id);
  }
  if (!open) {
    return *row;
  }
  ASSIGN_OR_RETURN(const std::vector<BlobName> blobs, OfferedBlobs(*row));
  for (const BlobName& blob : blobs) {
    if (!UploadStore(transaction).HasComplete(caller.id, blob.ToString())) {
      return FailedPrecondition(
          "contributions/{}: {} is missing; upload it first", id,
          blob.ToString());
    }
  }
  if (mode == OfferMode::kValidateOnly) {
    return *row;
  }
  const std::string name = ResourceName(Collection::kContributions, id);
  // Perhaps uploaded for another contribution of the same owner: this one
  // needs them now, too.
  for (const BlobName& blob : blobs) {
    BlobTable(transaction).Add(blob, name, core.now_s());
  }
  if (FailedInAdmission(*row)) {
    contributions.SetDecision(id, "", core.now_s());
  }
  contributions.SetState(id, ContributionState::kSubmitted, core.now_s());
  JobStore(transaction)
      .Add(JobKind::kValidate, name, core.now_s(), core.now_s());
  RETURN_IF_ERROR(core.Audit(
      transaction,
      {.actor = caller.uri, .action = "contribution.submit", .subject = name},
      Json::object()));
  return *contributions.Find(id);
}

}  // namespace tributary::coordinator
