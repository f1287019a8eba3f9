#include "contributor/pipeline/contribute.h"

#include "common/base/files.h"
#include "common/base/json.h"
#include "contributor/egress/approval.h"
#include "contributor/pipeline/site_rules.h"
#include "nlohmann/json.hpp"

namespace tributary::contributor {
namespace {

using State = v1::Contribution;

std::filesystem::path AnchorRoot(const Home& home) {
  return home.Cache() / "anchors";
}

std::filesystem::path AnchorRecord(const PipelineContext& context) {
  return context.home.Pipeline(ContributionOf(context)) / "anchor.json";
}

// The digest that the last run used; NOT_FOUND when there was none.
StatusOr<std::string> StoredAnchorDigest(const PipelineContext& context) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFile(AnchorRecord(context), 1 << 16));
  ASSIGN_OR_RETURN(const Json value, ParseJson(text));
  if (!value.is_object() || !value.contains("digest") ||
      !value["digest"].is_string()) {
    return NotFound("no anchor is recorded");
  }
  return value["digest"].get<std::string>();
}

void Report(const PipelineContext& context, std::string_view stage,
            double fraction, std::string_view message) {
  if (context.progress) {
    context.progress(stage, fraction, message);
  }
}

StatusOr<v1::Contribution> Submit(const PipelineContext& context,
                                  const ApprovedUpload& upload) {
  RETURN_IF_ERROR(RecordUpload(context.home, upload, context.identity.address,
                               context.identity.key, context.clock));
  RETURN_IF_ERROR(
      context.client.Upload(upload, [&](uint64_t done, uint64_t total) {
        Report(context, "upload",
               static_cast<double>(done) / static_cast<double>(total),
               fmt::format("{} of {} bytes", done, total));
      }));
  Report(context, "upload", 1.0, "complete");
  return context.client.SubmitContribution(upload.contribution());
}

bool TakesUploads(const v1::Contribution& contribution) {
  return contribution.state() == State::CREATED ||
         contribution.state() == State::UPLOADING;
}

}  // namespace

FetchContext FetchingFor(const PipelineContext& context, const char* stage) {
  return {.client = context.client,
          .identity = context.identity,
          .cache = context.cache,
          .clock = context.clock,
          .progress = [&context, stage](uint64_t done, uint64_t total) {
            Report(context, stage,
                   static_cast<double>(done) / static_cast<double>(total),
                   fmt::format("{} of {} bytes", done, total));
          }};
}

std::string ContributionOf(const PipelineContext& context) {
  return context.config.contribution();
}

StatusOr<FetchedAnchor> StoredAnchor(const PipelineContext& context) {
  ASSIGN_OR_RETURN(const std::string digest, StoredAnchorDigest(context));
  return LoadFetchedAnchor(AnchorRoot(context.home), digest);
}

StatusOr<FetchedAnchor> PipelineAnchor(const PipelineContext& context,
                                       AnchorChoice choice) {
  if (choice == AnchorChoice::kStored) {
    StatusOr<FetchedAnchor> stored = StoredAnchor(context);
    if (stored.ok() && VerifyFetchedAnchor(*stored, context.cache).ok()) {
      return stored;
    }
  }
  const FetchContext fetch = FetchingFor(context, "fetch_anchor");
  ASSIGN_OR_RETURN(FetchedAnchor anchor, FetchAnchor(fetch, "anchors/current",
                                                     AnchorRoot(context.home)));
  ASSIGN_OR_RETURN(const std::string record,
                   DumpJson({{"digest", anchor.digest},
                             {"name", "anchors/" + anchor.manifest.name}},
                            2));
  RETURN_IF_ERROR(
      MakeDirectories(context.home.Pipeline(ContributionOf(context))));
  RETURN_IF_ERROR(WriteFileAtomic(AnchorRecord(context), record));
  return anchor;
}

Status PrepareEgress(const PipelineContext& context,
                     const LocalPipeline& pipeline) {
  ASSIGN_OR_RETURN(const SiteRules rules, RulesOf(context.config));
  ASSIGN_OR_RETURN(const EgressReport report,
                   pipeline.MakeReport(context.identity, rules));
  RETURN_IF_ERROR(StoreReport(context.home, report, pipeline.ExpertFile(),
                              pipeline.StatisticsFile()));
  if (rules.approval == SiteRules::Approval::kPerson) {
    return absl::OkStatus();
  }
  return ApproveReport(context.home, report.manifest.contribution, rules,
                       {.approver = "policy " + rules.version,
                        .mode = ApproveOptions::Mode::kAutomatic},
                       context.identity.key, context.clock)
      .status();
}

StatusOr<v1::Contribution> SendApproved(const PipelineContext& context) {
  ASSIGN_OR_RETURN(const SiteRules rules, RulesOf(context.config));
  ASSIGN_OR_RETURN(const ApprovedUpload upload,
                   LoadApproved(context.home, ContributionOf(context), rules,
                                context.identity.key.public_key()));
  ASSIGN_OR_RETURN(v1::Contribution contribution,
                   context.client.CreateContribution(upload));
  // A repeated registration answers as it did the first time.
  ASSIGN_OR_RETURN(contribution,
                   context.client.GetContribution(upload.contribution()));
  if (!TakesUploads(contribution)) {
    return contribution;
  }
  return Submit(context, upload);
}

StatusOr<v1::Contribution> AdvanceContribution(const PipelineContext& context) {
  StatusOr<v1::Contribution> known =
      context.client.GetContribution(ContributionOf(context));
  if (known.ok() && !TakesUploads(*known)) {
    return known;
  }
  if (!known.ok() && !absl::IsNotFound(known.status())) {
    return known.status();
  }
  if (known.ok()) {
    // Registered before: the same manifest goes on.
    return SendApproved(context);
  }
  ASSIGN_OR_RETURN(const FetchedAnchor anchor,
                   PipelineAnchor(context, AnchorChoice::kCurrent));
  // Before hours of work, not after.
  ASSIGN_OR_RETURN(const SiteRules rules, RulesOf(context.config));
  RETURN_IF_ERROR(CheckAnchor(rules, anchor.manifest.name, anchor.digest));
  ASSIGN_OR_RETURN(
      LocalPipeline pipeline,
      LocalPipeline::Create(context.home, context.config, FactsOf(anchor)));
  RETURN_IF_ERROR(
      pipeline.RunUpTo(kEvaluate, context.worker, context.progress));
  RETURN_IF_ERROR(PrepareEgress(context, pipeline));
  return SendApproved(context);
}

StatusOr<v1::Contribution> WaitForDecision(const PipelineContext& context) {
  v1::Contribution last;
  RETURN_IF_ERROR(context.client.WatchContribution(
      ContributionOf(context), [&](const v1::Contribution& seen) {
        last = seen;
        Report(context, "admission", IsDecided(seen) ? 1.0 : 0.0,
               v1::Contribution::State_Name(seen.state()));
        // Back before its submission: admission failed, or the coordinator
        // was restored from a backup.
        return !IsDecided(seen) && !TakesUploads(seen);
      }));
  return last;
}

bool IsDecided(const v1::Contribution& contribution) {
  switch (contribution.state()) {
    case State::ACCEPTED:
    case State::QUARANTINED:
    case State::REJECTED:
    case State::WITHDRAWN:
    case State::PURGED:
      return true;
    default:
      return false;
  }
}

std::string DescribeMeasurements(const v1::GateResult& gate) {
  std::string text;
  for (const v1::Measurement& measured : gate.measurements()) {
    if (!text.empty()) {
      text += ", ";
    }
    text += fmt::format("{} {:.6g}", measured.name(), measured.value());
    if (measured.has_minimum()) {
      text += fmt::format(" (at least {:.6g})", measured.minimum());
    }
    if (measured.has_maximum()) {
      text += fmt::format(" (at most {:.6g})", measured.maximum());
    }
  }
  return text;
}

Status DecisionStatus(const v1::Contribution& contribution) {
  const v1::Decision& decision = contribution.decision();
  std::string why = decision.reason();
  for (const v1::GateResult& gate : decision.gates()) {
    if (!gate.passed()) {
      why = fmt::format("gate {}: {}", gate.gate(), gate.detail());
      if (!gate.measurements().empty()) {
        why += fmt::format(" [{}]", DescribeMeasurements(gate));
      }
    }
  }
  switch (contribution.state()) {
    case State::ACCEPTED:
      return absl::OkStatus();
    case State::REJECTED:
      return Aborted(
          "{} was rejected: {}; change the configuration and give the next "
          "attempt a new `contribution` name",
          contribution.name(), why);
    case State::QUARANTINED:
      return FailedPrecondition(
          "{} is quarantined and waits for the coordinator's operator: {}",
          contribution.name(), why.empty() ? "no reason given" : why);
    case State::WITHDRAWN:
    case State::PURGED:
      return FailedPrecondition(
          "{} was withdrawn; to contribute again, set a new `contribution` "
          "name in contributor.textproto",
          contribution.name());
    default:
      return Unavailable("{}: admission has not decided ({}{}{}); run it again",
                         contribution.name(),
                         v1::Contribution::State_Name(contribution.state()),
                         why.empty() ? "" : ": ", why);
  }
}

}  // namespace tributary::contributor
