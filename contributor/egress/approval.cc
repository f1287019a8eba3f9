#include "contributor/egress/approval.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/crypto/digest.h"
#include "common/manifest/expert_manifest.h"
#include "contributor/egress/consent.h"
#include "contributor/egress/ledger.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

constexpr char kReportJson[] = "report.json";
constexpr char kReportText[] = "report.txt";
constexpr char kApproval[] = "approval.json";
constexpr char kManifest[] = "manifest.dsse.json";
constexpr char kExpert[] = "expert.safetensors";
constexpr char kStatistics[] = "router_statistics.safetensors";

StatusOr<Consent> LoadConsent(const fs::path& folder) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFile(folder / kApproval, 1 << 20));
  return Consent::FromJson(text, (folder / kApproval).string());
}

// The consent to this report as far as it goes. What is stored and cannot be
// read, or is about another report, is no consent.
Consent ConsentTo(const EgressReport& report, const fs::path& folder) {
  StatusOr<Consent> stored = LoadConsent(folder);
  if (stored.ok() && stored->report_digest == report.digest) {
    return *std::move(stored);
  }
  return {.report_digest = report.digest};
}

Status CheckFile(const fs::path& file, const manifest::BlobName& blob) {
  ASSIGN_OR_RETURN(const crypto::FileDigest digest, crypto::DigestFile(file));
  if (digest.sha256 != blob.sha256) {
    return DataLoss(
        "{}: its digest is {}, the report was made for {}; run the pipeline "
        "again and approve the new report",
        file.string(), digest.sha256, blob.sha256);
  }
  return absl::OkStatus();
}

// All files that would leave.
Status CheckFiles(const fs::path& folder,
                  const manifest::ExpertManifest& manifest) {
  RETURN_IF_ERROR(CheckFile(folder / kExpert, manifest.blob));
  return manifest.router_statistics
             ? CheckFile(folder / kStatistics, *manifest.router_statistics)
             : absl::OkStatus();
}

Status PlaceFile(const fs::path& source, const fs::path& target) {
  const fs::path temporary = target.string() + ".tmp";
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_hard_link(source, temporary, error);
  if (error) {
    fs::copy_file(source, temporary, error);
  }
  if (!error) {
    fs::rename(temporary, target, error);
  }
  return error ? ErrnoStatus(error.value(), "place " + target.string())
               : absl::OkStatus();
}

std::string Subject(const std::string& contribution) {
  return "contributions/" + contribution;
}

bool HasEntry(const Ledger& ledger, const std::string& action,
              const std::string& subject, const std::string& detail) {
  for (const manifest::LedgerEntry& entry : ledger.entries()) {
    if (entry.action == action && entry.subject == subject &&
        entry.detail_json == detail) {
      return true;
    }
  }
  return false;
}

}  // namespace

Status StoreReport(const Home& home, const EgressReport& report,
                   const fs::path& expert_file,
                   const fs::path& statistics_file) {
  const fs::path folder = home.Egress(report.manifest.contribution);
  RETURN_IF_ERROR(MakeDirectories(folder));
  const StatusOr<Consent> consent = LoadConsent(folder);
  if (consent.ok() ? consent->report_digest != report.digest
                   : !absl::IsNotFound(consent.status())) {
    std::error_code error;
    fs::remove(folder / kApproval, error);
    fs::remove(folder / kManifest, error);
  }
  RETURN_IF_ERROR(PlaceFile(expert_file, folder / kExpert));
  if (report.manifest.router_statistics) {
    RETURN_IF_ERROR(PlaceFile(statistics_file, folder / kStatistics));
  }
  RETURN_IF_ERROR(CheckFiles(folder, report.manifest));
  RETURN_IF_ERROR(WriteFileAtomic(folder / kReportText, report.text));
  return WriteFileAtomic(folder / kReportJson, report.json);
}

StatusOr<EgressReport> LoadReport(const Home& home,
                                  const std::string& contribution) {
  const fs::path path = home.Egress(contribution) / kReportJson;
  const StatusOr<std::string> json = ReadFile(path, 64 << 20);
  if (absl::IsNotFound(json.status())) {
    return NotFound(
        "there is no egress report for contributions/{} yet: run "
        "`tributary-contributor export` or `run` first",
        contribution);
  }
  RETURN_IF_ERROR(json.status());
  StatusOr<EgressReport> report = ParseEgressReport(*json);
  if (!report.ok()) {
    return Annotate(report.status(), path.string());
  }
  return report;
}

StatusOr<std::string> LoadReportText(const Home& home,
                                     const std::string& contribution) {
  return ReadFile(home.Egress(contribution) / kReportText, 64 << 20);
}

StatusOr<int> ApproveReport(const Home& home, const std::string& contribution,
                            const SiteRules& rules,
                            const ApproveOptions& options,
                            const crypto::PrivateKey& key, const Clock& clock) {
  ASSIGN_OR_RETURN(EgressReport report, LoadReport(home, contribution));
  const fs::path folder = home.Egress(contribution);
  RETURN_IF_ERROR(CheckRules(rules, report));
  RETURN_IF_ERROR(CheckFiles(folder, report.manifest));
  if (LoadApproved(home, contribution, rules, key.public_key()).ok()) {
    return 0;
  }
  Consent consent = ConsentTo(report, folder);
  const auto now_s = static_cast<int64_t>(clock.NowSeconds());
  Approval approval = {.approver = options.approver, .time_s = now_s};
  if (options.approver_key != nullptr) {
    ASSIGN_OR_RETURN(approval.envelope_json,
                     SignApproval({.contribution = contribution,
                                   .report_digest = report.digest,
                                   .approver = options.approver,
                                   .time_s = now_s},
                                  *options.approver_key));
  }
  // The same person's earlier approval gives way to this one.
  const bool repeated =
      std::erase_if(consent.approvals, [&](const Approval& other) {
        return other.approver == approval.approver;
      }) > 0;
  consent.approvals.push_back(std::move(approval));
  consent.policy_version = rules.version;
  consent.mode =
      options.mode == ApproveOptions::Mode::kPerson ? "person" : "automatic";
  ASSIGN_OR_RETURN(const int count,
                   CountApprovals(consent, rules, contribution));

  if (static_cast<size_t>(count) < consent.approvals.size()) {
    return FailedPrecondition(
        "contributions/{}: one key has approved under two of the names {}; "
        "each person has a key of their own, and who took the wrong one "
        "approves again first",
        contribution, consent.Names());
  }

  ASSIGN_OR_RETURN(const std::string detail,
                   DumpJson({{"blob", report.manifest.blob.ToString()},
                             {"mode", consent.mode},
                             {"policy_version", consent.policy_version},
                             {"report_digest", report.digest}}));
  if (!repeated) {
    ASSIGN_OR_RETURN(Ledger ledger, Ledger::Open(home.Ledger(), key));
    RETURN_IF_ERROR(ledger.Append(options.approver, "egress.approve",
                                  Subject(contribution), detail, clock));
  }
  if (count >= rules.required_approvers) {
    report.manifest.approval = {.approver = consent.Names(),
                                .policy_version = rules.version,
                                .time_s = now_s,
                                .mode = consent.mode};
    ASSIGN_OR_RETURN(const std::string envelope,
                     manifest::SignExpertManifest(report.manifest, key));
    RETURN_IF_ERROR(WriteFileAtomic(folder / kManifest, envelope));
  }
  ASSIGN_OR_RETURN(const std::string json, consent.ToJson());
  RETURN_IF_ERROR(WriteFileAtomic(folder / kApproval, json));
  return std::max(0, rules.required_approvers - count);
}

StatusOr<ApprovedUpload> LoadApproved(const Home& home,
                                      const std::string& contribution,
                                      const SiteRules& rules,
                                      const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(const EgressReport report, LoadReport(home, contribution));
  const fs::path folder = home.Egress(contribution);
  const Consent consent = ConsentTo(report, folder);
  if (consent.approvals.empty()) {
    return FailedPrecondition(
        "contributions/{} is not approved: read `tributary-contributor egress "
        "show`, then run `tributary-contributor egress approve --approver "
        "NAME`",
        contribution);
  }
  RETURN_IF_ERROR(CheckConsent(consent, rules, contribution));
  RETURN_IF_ERROR(CheckRules(rules, report));
  ApprovedUpload upload;
  ASSIGN_OR_RETURN(upload.envelope_, ReadFile(folder / kManifest, 64 << 20));
  ASSIGN_OR_RETURN(const manifest::ExpertManifest manifest,
                   manifest::OpenExpertManifest(upload.envelope_, key));
  if (manifest.contribution != contribution ||
      manifest.blob != report.manifest.blob ||
      manifest.router_statistics != report.manifest.router_statistics) {
    return DataLoss("{}: not the manifest of the approved report",
                    (folder / kManifest).string());
  }
  upload.contribution_ = contribution;
  upload.blob_ = manifest.blob;
  upload.file_ = folder / kExpert;
  upload.approver_ = consent.Names();
  upload.statistics_ = manifest.router_statistics;
  upload.statistics_file_ = folder / kStatistics;
  RETURN_IF_ERROR(CheckFiles(folder, manifest));
  return upload;
}

Status RecordUpload(const Home& home, const ApprovedUpload& upload,
                    const std::string& destination,
                    const crypto::PrivateKey& key, const Clock& clock) {
  ASSIGN_OR_RETURN(
      const std::string detail,
      DumpJson({{"blob", upload.blob().ToString()},
                {"destination", destination},
                {"manifest_sha256",
                 crypto::Sha256Hex(upload.manifest_envelope_json())}}));
  ASSIGN_OR_RETURN(Ledger ledger, Ledger::Open(home.Ledger(), key));
  if (HasEntry(ledger, "egress.upload", Subject(upload.contribution()),
               detail)) {
    return absl::OkStatus();
  }
  return ledger.Append(upload.approver(), "egress.upload",
                       Subject(upload.contribution()), detail, clock);
}

}  // namespace tributary::contributor
