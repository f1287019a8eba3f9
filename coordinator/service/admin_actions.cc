#include "coordinator/service/admin_actions.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "common/manifest/resource_name.h"
#include "coordinator/admission/admission.h"
#include "coordinator/admission/offered_blobs.h"
#include "coordinator/release/router_modes.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/storage/release_store.h"

namespace tributary::coordinator {

using manifest::Collection;
using manifest::ResourceName;

Status RecordInvitation(const Core& core, Transaction& transaction,
                        const Caller& caller, const std::string& contributor,
                        const std::string& secret_sha256,
                        int64_t expire_time_s) {
  ContributorStore store(transaction);
  const auto row = store.Find(contributor);
  if (row && row->state == ContributorState::kRevoked) {
    return FailedPrecondition(
        "contributors/{} is revoked; invite it under another id", contributor);
  }
  store.EnsureInvited(contributor, core.now_s());
  store.DropInvitations(contributor);
  store.AddInvitation({.secret_sha256 = secret_sha256,
                       .contributor = contributor,
                       .create_time_s = core.now_s(),
                       .expire_time_s = expire_time_s});
  return core.Audit(
      transaction,
      {.actor = caller.uri,
       .action = "contributor.invite",
       .subject = ResourceName(Collection::kContributors, contributor)},
      {{"expire_time_s", expire_time_s}});
}

Status Revoke(const Core& core, Transaction& transaction, const Caller& caller,
              const std::string& contributor) {
  ContributorStore store(transaction);
  if (!store.Find(contributor)) {
    return NotFound("contributors/{}: no such contributor", contributor);
  }
  store.SetState(contributor, ContributorState::kRevoked);
  store.DropInvitations(contributor);
  return core.Audit(
      transaction,
      {.actor = caller.uri,
       .action = "contributor.revoke",
       .subject = ResourceName(Collection::kContributors, contributor)},
      Json::object());
}

StatusOr<InvitationRow> TakeInvitationBack(const Core& core,
                                           Transaction& transaction,
                                           const Caller& caller,
                                           const std::string& contributor) {
  ContributorStore store(transaction);
  const auto row = store.FindOpenInvitation(contributor, core.now_s());
  if (!row) {
    return NotFound(
        "invitations/{}: there is none that can still be used; if it was used, "
        "revoke the contributor",
        contributor);
  }
  store.DropInvitations(contributor);
  RETURN_IF_ERROR(core.Audit(
      transaction,
      {.actor = caller.uri,
       .action = "contributor.uninvite",
       .subject = ResourceName(Collection::kContributors, contributor)},
      Json::object()));
  return *row;
}

StatusOr<RevokedReaderRow> RevokeReader(const Core& core,
                                        Transaction& transaction,
                                        const Caller& caller,
                                        const std::string& reader) {
  ReaderStore readers(transaction);
  if (!readers.FindRevoked(reader)) {
    readers.Revoke(reader, core.now_s());
    RETURN_IF_ERROR(
        core.Audit(transaction,
                   {.actor = caller.uri,
                    .action = "reader.revoke",
                    .subject = ResourceName(Collection::kReaders, reader)},
                   Json::object()));
  }
  return *readers.FindRevoked(reader);
}

namespace {

bool IsOnItsWay(ContributionState state) {
  return state == ContributionState::kCreated ||
         state == ContributionState::kUploading ||
         state == ContributionState::kSubmitted ||
         state == ContributionState::kValidating;
}

// Whether the operator may decide so about a contribution in its state.
Status CheckDecidable(Transaction& transaction, const ContributionRow& row,
                      Outcome outcome) {
  if (row.state == ContributionState::kQuarantined &&
      outcome != Outcome::kQuarantined) {
    return absl::OkStatus();
  }
  if (outcome == Outcome::kQuarantined && IsOnItsWay(row.state)) {
    return absl::OkStatus();
  }
  if (outcome == Outcome::kAccepted ||
      row.state != ContributionState::kAccepted) {
    return FailedPrecondition(
        "contributions/{} is {}; QUARANTINED ones are accepted or rejected, "
        "ACCEPTED ones rejected or quarantined, those on their way quarantined",
        row.id, ToString(row.state));
  }
  for (const ReleaseRow& release :
       ReleaseStore(transaction).ListHolding(row.id)) {
    if (release.served() || release.state == ReleaseState::kBuilding) {
      return FailedPrecondition(
          "contributions/{} is part of {}; it can only be withdrawn", row.id,
          manifest::ReleaseName(release.number));
    }
  }
  return absl::OkStatus();
}

ContributionState StateAfter(ContributionState state, Outcome outcome) {
  switch (outcome) {
    case Outcome::kAccepted:
      return ContributionState::kAccepted;
    case Outcome::kQuarantined:
      return IsOnItsWay(state) ? state : ContributionState::kQuarantined;
    default:
      return ContributionState::kRejected;
  }
}

}  // namespace

Status Decide(const Core& core, Transaction& transaction, const Caller& caller,
              const OperatorDecision& request) {
  const std::string& id = request.contribution;
  ContributionStore contributions(transaction);
  const auto row = contributions.Find(id);
  if (!row) {
    return NotFound("contributions/{}: no such contribution", id);
  }
  RETURN_IF_ERROR(CheckDecidable(transaction, *row, request.outcome));
  const bool accept = request.outcome == Outcome::kAccepted;
  Decision decision;
  if (!row->decision_json.empty()) {
    ASSIGN_OR_RETURN(decision, Decision::FromJson(row->decision_json));
  }
  decision.outcome = request.outcome;
  decision.reason =
      request.reason.empty() ? "accepted by the operator" : request.reason;
  decision.decide_time_s = core.now_s();
  if (request.outcome != Outcome::kQuarantined) {
    decision.gates.push_back(
        {.gate = "operator", .passed = accept, .detail = decision.reason});
  }
  ASSIGN_OR_RETURN(const std::string json, decision.ToJson());
  contributions.SetDecision(id, json, core.now_s());
  contributions.SetState(id, StateAfter(row->state, request.outcome),
                         core.now_s());
  RETURN_IF_ERROR(core.Audit(
      transaction,
      {.actor = caller.uri,
       .action = "contribution.decide",
       .subject = ResourceName(Collection::kContributions, id)},
      {{"outcome", ToString(decision.outcome)}, {"reason", decision.reason}}));
  if (accept && core.settings.releases.build_on_accept) {
    return QueueBuildOnAccept(core, transaction, row->anchor_digest);
  }
  return absl::OkStatus();
}

StatusOr<int64_t> CreateRelease(const Core& core, Transaction& transaction,
                                const Caller& caller,
                                const std::string& router_mode) {
  const std::string mode =
      router_mode.empty() ? core.settings.routing.mode : router_mode;
  if (!IsRouterMode(mode)) {
    return InvalidArgument(
        "router_mode: got '{}', wanted discriminant, trained, ridge or tuned",
        mode);
  }
  const auto anchor = AnchorStore(transaction).Current();
  if (!anchor) {
    return FailedPrecondition(
        "no anchor is published yet; run `anchor publish` first");
  }
  std::vector<std::string> ids;
  for (const ContributionRow& row :
       ContributionStore(transaction).ListAccepted(anchor->digest)) {
    ids.push_back(row.id);
    if (mode != kRidgeMode) {
      continue;
    }
    ASSIGN_OR_RETURN(const auto statistics, StatisticsOf(row));
    if (!statistics) {
      return FailedPrecondition(
          "contributions/{} came without router statistics, which a ridge "
          "router needs of all; build with another mode, or its owner sends a "
          "new one with expert.router_statistics",
          row.id);
    }
  }
  if (ids.empty()) {
    return FailedPrecondition(
        "no contribution is accepted for anchors/{}; a release needs at least "
        "one",
        anchor->id);
  }
  const int64_t number =
      ReleaseStore(transaction).Create(anchor->digest, mode, ids, core.now_s());
  JobStore(transaction)
      .Add(JobKind::kBuildRelease, manifest::ReleaseName(number), core.now_s(),
           core.now_s());
  RETURN_IF_ERROR(core.Audit(transaction,
                             {.actor = caller.uri,
                              .action = "release.queue",
                              .subject = manifest::ReleaseName(number)},
                             {{"experts", ids}}));
  return number;
}

}  // namespace tributary::coordinator
