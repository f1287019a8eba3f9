#include "coordinator/admission/admission.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/log.h"
#include "common/crypto/dsse.h"
#include "common/manifest/resource_name.h"
#include "coordinator/admission/gates.h"
#include "coordinator/admission/quarantine.h"
#include "coordinator/admission/stored_bytes.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/job_store.h"
#include "coordinator/storage/release_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ResourceName;

// In a job's input folder.
constexpr char kExpertFile[] = "expert.safetensors";
constexpr char kStatisticsFile[] = "router_statistics.safetensors";

GateResult FromWorker(const job::Gate& gate) {
  GateResult result{
      .gate = gate.name(), .passed = gate.passed(), .detail = gate.detail()};
  for (const job::GateMeasurement& item : gate.measurements()) {
    Measurement measurement{.name = item.name(), .value = item.value()};
    if (item.has_minimum()) {
      measurement.minimum = item.minimum();
    }
    if (item.has_maximum()) {
      measurement.maximum = item.maximum();
    }
    result.measurements.push_back(std::move(measurement));
  }
  return result;
}

// Whether the worker's error says something about the file, rather than about
// this machine.
bool IsAboutTheFile(const Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsOutOfRange(status) ||
         absl::IsDataLoss(status);
}

ContributionState StateFor(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAccepted:
      return ContributionState::kAccepted;
    case Outcome::kQuarantined:
      return ContributionState::kQuarantined;
    case Outcome::kError:
      // The bytes are there; submitting again tries again.
      return ContributionState::kUploading;
    default:
      return ContributionState::kRejected;
  }
}

}  // namespace

StatusOr<SignedManifest> OpenOffer(Transaction& transaction,
                                   const std::string& federation,
                                   const std::string& contributor,
                                   const std::string& envelope_json) {
  ASSIGN_OR_RETURN(const crypto::Envelope envelope,
                   crypto::Envelope::FromJson(envelope_json));
  std::optional<CertificateRow> certificate;
  for (const crypto::Envelope::Signature& signature : envelope.signatures) {
    if (!certificate) {
      certificate = ContributorStore(transaction)
                        .FindCertificate(contributor, signature.key_id);
    }
  }
  if (!certificate) {
    return Unauthenticated(
        "manifest_envelope_json: no signature is by a key that was certified "
        "for contributors/{}",
        contributor);
  }
  ASSIGN_OR_RETURN(const crypto::Certificate parsed,
                   crypto::Certificate::FromPem(certificate->pem));
  SignedManifest result;
  ASSIGN_OR_RETURN(result.manifest, manifest::OpenExpertManifest(
                                        envelope_json, parsed.public_key()));
  if (result.manifest.federation != federation) {
    return InvalidArgument("manifest: federation is {}, wanted {}",
                           result.manifest.federation, federation);
  }
  if (result.manifest.contributor != contributor) {
    return InvalidArgument("manifest: contributor is {}, the caller is {}",
                           result.manifest.contributor, contributor);
  }
  ASSIGN_OR_RETURN(result.digest, result.manifest.Digest());
  return result;
}

StatusOr<std::optional<Admission::Subject>> Admission::Load(
    const std::string& contribution) {
  std::optional<Subject> subject;
  std::string anchor_json;
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    ContributionStore contributions(transaction);
    const auto row = contributions.Find(contribution);
    if (!row || (row->state != ContributionState::kSubmitted &&
                 row->state != ContributionState::kValidating)) {
      return absl::OkStatus();
    }
    const auto anchor =
        AnchorStore(transaction).FindByDigest(row->anchor_digest);
    const auto owner = ContributorStore(transaction).Find(row->contributor);
    if (!anchor || !owner) {
      return DataLoss("contributions/{}: its anchor or contributor is gone",
                      contribution);
    }
    subject.emplace();
    subject->row = *row;
    subject->revoked = owner->state == ContributorState::kRevoked;
    subject->policy = owner->policy;
    subject->current_anchor =
        AnchorStore(transaction).Current()->digest == row->anchor_digest;
    anchor_json = anchor->manifest_json;
    subject->offer = OpenOffer(transaction, core_.settings.federation,
                               row->contributor, row->envelope_json)
                         .status();
    if (row->state == ContributionState::kSubmitted) {
      contributions.SetState(contribution, ContributionState::kValidating,
                             core_.now_s());
    }
    return absl::OkStatus();
  }));
  if (!subject) {
    return subject;
  }
  ASSIGN_OR_RETURN(subject->anchor,
                   manifest::AnchorManifest::FromJson(anchor_json));
  ASSIGN_OR_RETURN(subject->expert, manifest::ExpertManifest::FromJson(
                                        subject->row.manifest_json));
  return subject;
}

GateResult Admission::PolicyGate(const Subject& subject) const {
  GateResult gate{.gate = "policy", .passed = false};
  if (subject.revoked) {
    gate.detail = "the contributor is revoked";
    return gate;
  }
  if (!subject.current_anchor) {
    gate.detail = "made for the anchor " + subject.anchor.name +
                  ", which is no longer the current one";
    return gate;
  }
  Status fits = CheckOffer(subject.expert, subject.anchor);
  if (fits.ok()) {
    fits = CheckWidths(subject.expert, subject.policy.max_width);
  }
  gate =
      GateFrom("policy", fits,
               "contributor, anchor, widths, tensors and size fit the policy");
  const auto widest = std::max_element(subject.expert.widths.begin(),
                                       subject.expert.widths.end());
  if (widest != subject.expert.widths.end()) {
    gate.measurements.push_back(
        {.name = "widest_layer",
         .value = static_cast<double>(*widest),
         .maximum = static_cast<double>(
             std::min(subject.anchor.expert_policy.max_width,
                      subject.policy.max_width.value_or(INT64_MAX)))});
  }
  return gate;
}

job::Job Admission::ValidationJob(const Subject& subject,
                                  const JobFolder& folder,
                                  const std::filesystem::path& anchor) const {
  job::Job job;
  job.set_id(folder.root().filename().string());
  job.set_output_directory(folder.output().string());
  job.add_read_paths(anchor.string());
  job.add_read_paths(folder.input().string());
  job::ValidateExpert& task = *job.add_tasks()->mutable_validate_expert();
  task.set_model_directory(anchor.string());
  task.set_expert_path((folder.input() / kExpertFile).string());
  for (const int64_t width : subject.expert.widths) {
    task.add_widths(width);
  }
  task.set_public_tokens_path((anchor / "public/tokens.safetensors").string());
  task.set_public_statistics_path(
      (anchor / "public/statistics.safetensors").string());
  if (subject.expert.router_statistics) {
    task.set_router_statistics_path(
        (folder.input() / kStatisticsFile).string());
  }
  const AdmissionSettings& limits = core_.settings.admission;
  job::AdmissionLimits& out = *task.mutable_limits();
  out.set_max_public_loss_increase(limits.max_public_loss_increase);
  out.set_max_public_share(limits.max_public_share);
  out.set_max_rms_ratio(limits.max_rms_ratio);
  out.set_max_absolute_ratio(limits.max_absolute_ratio);
  out.set_max_row_norm(limits.max_row_norm);
  out.set_max_output_ratio(limits.max_output_ratio);
  out.set_max_mean_output_ratio(limits.max_mean_output_ratio);
  return job;
}

StatusOr<bool> Admission::PlaceOffered(const Subject& subject,
                                       const JobFolder& folder,
                                       Decision& decision) const {
  std::vector<std::pair<const char*, BlobName>> files = {
      {kExpertFile, subject.expert.blob}};
  if (subject.expert.router_statistics) {
    files.emplace_back(kStatisticsFile, *subject.expert.router_statistics);
  }
  for (const auto& [name, blob] : files) {
    RETURN_IF_ERROR(
        core_.catalog.store().Materialise(blob, folder.input() / name));
    if (const Status intact = CheckStoredBytes(core_, blob); !intact.ok()) {
      // Not the contributor's fault: an ERROR that asks for another upload.
      RETURN_IF_ERROR(DropDamagedBytes(core_, subject.row, blob));
      decision.reason =
          "the coordinator's disk has damaged the uploaded "
          "bytes; upload them again: " +
          std::string(intact.message());
      return false;
    }
  }
  return true;
}

Status Admission::RunGates(const Subject& subject, const JobContext& context,
                           Decision& decision) {
  decision.gates.push_back(PolicyGate(subject));
  if (!decision.gates.back().passed) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const JobFolder folder,
                   JobFolder::Create(core_.home, context.id));
  Status offer = subject.offer;
  if (offer.ok()) {
    const std::filesystem::path file = folder.input() / kExpertFile;
    ASSIGN_OR_RETURN(const bool intact,
                     PlaceOffered(subject, folder, decision));
    if (!intact) {
      return absl::OkStatus();
    }
    offer = CheckOfferedFile(file, subject.expert, context.cancellation);
    if (!offer.ok() && !IsAboutTheFile(offer)) {
      return offer;
    }
  }
  decision.gates.push_back(
      GateFrom("manifest", offer, "the signature and every digest agree"));
  if (!offer.ok()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::filesystem::path anchor,
                   EnsureAnchorFolder(core_, subject.row.anchor_digest));
  const StatusOr<job::TaskResult> result = SingleResult(runner_.Run(
      ValidationJob(subject, folder, anchor), nullptr, context.cancellation));
  if (IsAboutTheFile(result.status())) {
    decision.gates.push_back(GateFrom("file", result.status(), ""));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(result.status());
  if (result->validate_expert().gates().empty()) {
    return Internal("the worker reported no gate");
  }
  for (const job::Gate& gate : result->validate_expert().gates()) {
    decision.gates.push_back(FromWorker(gate));
  }
  return absl::OkStatus();
}

bool Admission::NeedsOperator(const Subject& subject) const {
  return subject.policy.require_operator.value_or(
      core_.settings.admission.require_operator);
}

Status Admission::Run(const std::string& contribution,
                      const JobContext& context) {
  ASSIGN_OR_RETURN(const std::optional<Subject> subject, Load(contribution));
  if (!subject) {
    return absl::OkStatus();
  }
  Decision decision;
  const Status status = RunGates(*subject, context, decision);
  if (!status.ok()) {
    if (absl::IsCancelled(status) || context.attempt < kMaxAttempts) {
      return status;
    }
    decision.outcome = Outcome::kError;
    decision.reason = "admission itself failed " +
                      std::to_string(context.attempt) +
                      " times, the contribution may be submitted again: " +
                      std::string(status.message());
    return Record(contribution, std::move(decision));
  }
  if (!decision.reason.empty()) {
    return Record(contribution, std::move(decision));
  }
  const auto failed =
      std::find_if(decision.gates.begin(), decision.gates.end(),
                   [](const GateResult& gate) { return !gate.passed; });
  if (failed != decision.gates.end()) {
    decision.outcome = Outcome::kRejected;
    decision.reason = "gate " + failed->gate + ": " + failed->detail;
  } else if (NeedsOperator(*subject)) {
    decision.outcome = Outcome::kQuarantined;
    decision.reason = "every gate passed; waiting for the operator";
  } else if (const std::string close = CloseCalls(
                 decision, core_.settings.admission.quarantine_above);
             !close.empty()) {
    decision.outcome = Outcome::kQuarantined;
    decision.reason = "every gate passed, but close to its limit: " + close +
                      "; waiting for the operator";
  } else {
    decision.outcome = Outcome::kAccepted;
    decision.reason = "every gate passed";
  }
  return Record(contribution, std::move(decision));
}

Status Admission::Record(const std::string& contribution, Decision decision) {
  decision.decide_time_s = core_.now_s();
  const Status status =
      core_.database.Transact([&](Transaction& transaction) -> Status {
        ContributionStore contributions(transaction);
        const auto row = contributions.Find(contribution);
        // A withdrawal in the meantime wins.
        if (!row || row->state != ContributionState::kValidating) {
          return absl::OkStatus();
        }
        const auto held = HeldBecause(row->decision_json);
        if (held && decision.outcome == Outcome::kAccepted) {
          decision.outcome = Outcome::kQuarantined;
          decision.reason =
              "every gate passed; the operator holds it: " + *held;
        }
        ASSIGN_OR_RETURN(const std::string json, decision.ToJson());
        contributions.SetDecision(contribution, json, core_.now_s());
        contributions.SetState(contribution, StateFor(decision.outcome),
                               core_.now_s());
        Json gates = Json::array();
        for (const GateResult& gate : decision.gates) {
          gates.push_back({{"gate", gate.gate}, {"passed", gate.passed}});
        }
        RETURN_IF_ERROR(core_.Audit(
            transaction,
            {.actor = kCoordinatorActor,
             .action = "contribution.decide",
             .subject = ResourceName(Collection::kContributions, contribution)},
            {{"outcome", ToString(decision.outcome)},
             {"reason", decision.reason},
             {"gates", gates}}));
        if (decision.outcome == Outcome::kAccepted &&
            core_.settings.releases.build_on_accept) {
          return QueueBuildOnAccept(core_, transaction, row->anchor_digest);
        }
        return absl::OkStatus();
      });
  if (status.ok()) {
    log::Info("contributions/{}: {}: {}", contribution,
              ToString(decision.outcome), decision.reason);
  }
  return status;
}

Status QueueBuildOnAccept(const Core& core, Transaction& transaction,
                          const std::string& anchor_digest) {
  const std::vector<std::string> ids =
      ContributionStore(transaction).ListAcceptedIds(anchor_digest);
  const int64_t number =
      ReleaseStore(transaction)
          .Create(anchor_digest, core.settings.routing.mode, ids, core.now_s());
  const std::string name = manifest::ReleaseName(number);
  JobStore(transaction)
      .Add(JobKind::kBuildRelease, name, core.now_s(), core.now_s());
  return core.Audit(
      transaction,
      {.actor = kCoordinatorActor, .action = "release.queue", .subject = name},
      {{"experts", ids}});
}

}  // namespace tributary::coordinator
