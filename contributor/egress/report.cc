#include "contributor/egress/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/crypto/digest.h"
#include "common/manifest/expert_file_check.h"
#include "common/manifest/resource_name.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/model_config.h"
#include "common/safetensors/reader.h"

namespace tributary::contributor {
namespace {

constexpr char kReportType[] = "tributary-egress-report/v1";

// Fills in everything that the expert file says about itself.
Status DescribeFile(const EgressInputs& inputs,
                    manifest::ExpertManifest& manifest) {
  ASSIGN_OR_RETURN(const model_format::ModelConfig anchor,
                   model_format::LoadModelConfig(inputs.anchor_directory));
  ASSIGN_OR_RETURN(const auto file,
                   safetensors::File::Open(inputs.expert_file));
  ASSIGN_OR_RETURN(const model_format::ExpertLayout layout,
                   model_format::ReadExpertLayout(anchor, file->tensors()));
  if (!file->metadata().empty()) {
    return InvalidArgument(
        "{}: has metadata, wanted none: free text never leaves the site",
        inputs.expert_file.string());
  }
  manifest.widths = layout.widths;
  ASSIGN_OR_RETURN(manifest::ExpertFileFacts facts,
                   manifest::DescribeExpertFile(*file));
  manifest.tensors = std::move(facts.tensors);
  manifest.router_digest = std::move(facts.router_digest);
  ASSIGN_OR_RETURN(const crypto::FileDigest digest,
                   crypto::DigestFile(inputs.expert_file));
  manifest.blob = {.sha256 = digest.sha256, .size = digest.size};
  return absl::OkStatus();
}

// The statistics file and nothing else: sums and a count, no text.
Status DescribeStatistics(const std::filesystem::path& path,
                          manifest::ExpertManifest& manifest) {
  if (path.empty()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto file, safetensors::File::Open(path));
  for (const safetensors::TensorInfo& tensor : file->tensors()) {
    if (tensor.name != "tokens" && !tensor.name.ends_with(".second_moment") &&
        !tensor.name.ends_with(".sum")) {
      return InvalidArgument("{}: tensor {} is not one of those that may leave",
                             path.string(), tensor.name);
    }
  }
  if (!file->metadata().empty()) {
    return InvalidArgument("{}: has metadata, wanted none", path.string());
  }
  ASSIGN_OR_RETURN(const crypto::FileDigest digest, crypto::DigestFile(path));
  manifest.router_statistics = {.sha256 = digest.sha256, .size = digest.size};
  return absl::OkStatus();
}

uint64_t UploadBytes(const manifest::ExpertManifest& manifest) {
  return manifest.blob.size +
         (manifest.router_statistics ? manifest.router_statistics->size : 0);
}

// What the statistics of `manifest` are to a person.
std::string StatisticsText(const manifest::ExpertManifest& manifest) {
  if (!manifest.router_statistics) {
    return "";
  }
  return fmt::format(
      "  4. router statistics, {} ({} bytes), sha256 {}\n"
      "     per layer the sum and the second moment of the private text's "
      "activations, for the coordinator alone\n",
      HumanBytes(manifest.router_statistics->size),
      manifest.router_statistics->size, manifest.router_statistics->sha256);
}

Json RulesJson(const SiteRules& rules) {
  Json key_ids = Json::array();
  for (const crypto::PublicKey& key : rules.approver_keys) {
    key_ids.push_back(key.key_id());
  }
  return {
      {"approval",
       rules.approval == SiteRules::Approval::kPerson ? "person" : "automatic"},
      {"required_approvers", rules.required_approvers},
      {"approver_keys", key_ids},
      {"allowed_anchors", rules.allowed_anchors},
      {"statistics",
       rules.statistics == SiteRules::Statistics::kSend ? "sent" : "withheld"},
      {"router_statistics",
       rules.router_statistics == SiteRules::Statistics::kSend ? "allowed"
                                                               : "withheld"},
      {"max_upload_bytes", rules.max_upload_bytes},
      {"min_documents", rules.min_documents},
      {"min_tokens", rules.min_tokens},
      {"version", rules.version}};
}

std::string WidthsText(const std::vector<int64_t>& widths) {
  std::string text;
  for (size_t l = 0; l < widths.size();) {
    size_t end = l;
    while (end < widths.size() && widths[end] == widths[l]) {
      ++end;
    }
    text +=
        fmt::format("{}layers {}-{}: {}", text.empty() ? "" : ", ", l, end - 1,
                    widths[l] == 0 ? "none" : std::to_string(widths[l]));
    l = end;
  }
  return text;
}

// What was measured, a line for each text: the anchor's loss and the expert's.
std::string LossesText(const Json& losses) {
  std::string text;
  for (const Json& anchor : losses) {
    for (const Json& own : losses) {
      if (anchor["model"] == "anchor" && own["model"] == "own" &&
          anchor["text"] == own["text"]) {
        text += fmt::format(
            "  {}: {:.4f} nats per token with the anchor alone, {:.4f} with "
            "the expert ({} tokens)\n",
            anchor["text"] == "own" ? "own held-out text" : "public text",
            anchor["log_loss"].get<double>(), own["log_loss"].get<double>(),
            own["tokens"].get<int64_t>());
      }
    }
  }
  return text;
}

// Who has to agree.
std::string ApprovalText(const Json& policy) {
  if (policy["approval"] != "person") {
    return "what the policy allows is approved without a person";
  }
  const int persons = policy["required_approvers"].get<int>();
  const std::string who =
      persons == 1 ? "one person approves"
                   : fmt::format("{} different persons approve", persons);
  const size_t keys = policy["approver_keys"].size();
  return keys == 0 ? who + " by name"
                   : fmt::format("{} with {} of {} keys that the policy names",
                                 who, persons == 1 ? "one" : "one each", keys);
}

std::string PolicyText(const Json& policy) {
  const auto bytes = policy["max_upload_bytes"].get<uint64_t>();
  return fmt::format("version {}: at least {} documents and {} tokens; {}; {}",
                     policy["version"].get<std::string>(),
                     policy["min_documents"].get<int64_t>(),
                     policy["min_tokens"].get<int64_t>(),
                     bytes == 0 ? "no limit of size"
                                : "at most " + std::to_string(bytes) + " bytes",
                     ApprovalText(policy));
}

std::string SummaryText(const Json& report,
                        const manifest::ExpertManifest& manifest) {
  return fmt::format(
      "In short      {} of model weights, made from {} documents, would go to "
      "{}.\n"
      "              The coordinator checks them; releases that hold them can "
      "be read by every\n"
      "              member of federation {}. `tributary-contributor withdraw` "
      "takes them out of\n"
      "              releases again, not out of copies that others have made. "
      "Weights can repeat\n"
      "              what was frequent or odd in the text.\n",
      HumanBytes(UploadBytes(manifest)), manifest.method.documents,
      report["destination"].get<std::string>(), manifest.federation);
}

std::string SourcesText(const Json& report) {
  std::string text;
  for (const Json& source : report["sources"]) {
    text += fmt::format("{}{}\n",
                        text.empty() ? "Made from     " : "              ",
                        source.get<std::string>());
  }
  return text;
}

std::string ReportText(const Json& report,
                       const manifest::ExpertManifest& manifest) {
  const manifest::ExpertManifest::Method& method = manifest.method;
  const Json& policy = report["policy"];
  std::string text = fmt::format(
      "Egress report for contributions/{}\n"
      "\n"
      "{}"
      "\n"
      "Destination   {} (federation {}), as contributor {}\n"
      "For anchor    {} ({})\n"
      "{}"
      "\n"
      "What would leave this site\n"
      "  1. one expert file, {} ({} bytes), sha256 {}\n"
      "     {} tensors: gate, up and down projections (bf16) and one router "
      "row (fp32) a layer\n"
      "     widths: {}\n"
      "     router rows: sha256 {}\n"
      "  2. one signed manifest: the digests above and the numbers below\n"
      "  3. {}\n"
      "{}"
      "No text, no token ids, no {}activations, no file names, not this "
      "report.\n"
      "\n",
      manifest.contribution, SummaryText(report, manifest),
      report["destination"].get<std::string>(), manifest.federation,
      manifest.contributor, report["anchor"].get<std::string>(),
      manifest.anchor_digest, SourcesText(report),
      HumanBytes(manifest.blob.size), manifest.blob.size, manifest.blob.sha256,
      manifest.tensors.size(), WidthsText(manifest.widths),
      manifest.router_digest,
      policy["statistics"] == "sent"
          ? "later, when a release is evaluated: log-losses on the held-out "
            "text, as numbers"
          : "no losses: the policy withholds them, the manifest says 0",
      StatisticsText(manifest), manifest.router_statistics ? "single " : "");
  text += fmt::format(
      "How it was made\n"
      "  recipe {}, importance {}, router {}{}, seed {}\n"
      "  {} documents, {} tokens, {} steps, {} epochs, learning rate {}\n"
      "  training loss {:.4f} -> {:.4f} nats per token\n"
      "{}"
      "\n"
      "Privacy       differential privacy: {}\n"
      "Policy        {}\n",
      method.recipe, method.importance, method.router_method,
      method.folded ? " (bias folded)" : "", method.seed, method.documents,
      method.tokens, method.steps, method.epochs, method.learning_rate,
      method.train_loss_first, method.train_loss_last,
      LossesText(report["losses"]), manifest.privacy.differential_privacy,
      PolicyText(policy));
  return text;
}

}  // namespace

Status CheckAnchor(const SiteRules& rules, std::string_view name,
                   std::string_view digest) {
  const auto is_it = [&](const std::string& allowed) {
    return allowed == digest ||
           manifest::FullResourceName(manifest::Collection::kAnchors,
                                      allowed) ==
               manifest::FullResourceName(manifest::Collection::kAnchors, name);
  };
  if (rules.allowed_anchors.empty() ||
      std::any_of(rules.allowed_anchors.begin(), rules.allowed_anchors.end(),
                  is_it)) {
    return absl::OkStatus();
  }
  return PermissionDenied(
      "policy {}: anchor {} with digest {} is not one of the {} in "
      "policy.allowed_anchors",
      rules.version, name, digest, rules.allowed_anchors.size());
}

Status CheckRules(const SiteRules& rules, const EgressReport& report) {
  const manifest::ExpertManifest& manifest = report.manifest;
  RETURN_IF_ERROR(
      CheckAnchor(rules, report.anchor_name, manifest.anchor_digest));
  const manifest::ExpertManifest::Method& method = manifest.method;
  if (rules.statistics == SiteRules::Statistics::kWithhold &&
      (method.train_loss_first != 0 || method.train_loss_last != 0 ||
       method.heldout_log_loss_anchor != 0 ||
       method.heldout_log_loss_own != 0)) {
    return PermissionDenied(
        "policy {}: the report has losses, policy.forbid_statistics withholds "
        "them; run the pipeline again for a report without",
        rules.version);
  }
  if (manifest.method.documents < rules.min_documents) {
    return PermissionDenied(
        "policy {}: the expert was made from {} documents, wanted at least {}; "
        "add text or lower policy.min_documents",
        rules.version, manifest.method.documents, rules.min_documents);
  }
  if (manifest.method.tokens < rules.min_tokens) {
    return PermissionDenied(
        "policy {}: the expert was made from {} tokens, wanted at least {}; "
        "add text or lower policy.min_tokens",
        rules.version, manifest.method.tokens, rules.min_tokens);
  }
  if (manifest.router_statistics &&
      rules.router_statistics == SiteRules::Statistics::kWithhold) {
    return PermissionDenied(
        "policy {}: the report has router statistics, "
        "policy.allow_router_statistics withholds them; run the pipeline again "
        "for a report without",
        rules.version);
  }
  if (rules.max_upload_bytes > 0 &&
      UploadBytes(manifest) > rules.max_upload_bytes) {
    return PermissionDenied(
        "policy {}: the upload has {} bytes, wanted at most {}; choose a "
        "smaller expert.width or raise policy.max_upload_bytes",
        rules.version, UploadBytes(manifest), rules.max_upload_bytes);
  }
  return absl::OkStatus();
}

StatusOr<EgressReport> BuildEgressReport(const EgressInputs& inputs) {
  EgressReport report;
  manifest::ExpertManifest& manifest = report.manifest;
  manifest.federation = inputs.federation;
  manifest.contribution = inputs.contribution;
  manifest.contributor = inputs.contributor;
  manifest.anchor_digest = inputs.anchor_digest;
  manifest.method = inputs.method;
  const bool withheld =
      inputs.rules.statistics == SiteRules::Statistics::kWithhold;
  if (withheld) {
    manifest.method.train_loss_first = 0;
    manifest.method.train_loss_last = 0;
    manifest.method.heldout_log_loss_anchor = 0;
    manifest.method.heldout_log_loss_own = 0;
  }
  manifest.privacy.minimum_documents = inputs.rules.min_documents;
  manifest.approval = {
      .approver = "pending",
      .policy_version = inputs.rules.version,
      .time_s = 0,
      .mode = inputs.rules.approval == SiteRules::Approval::kPerson
                  ? "person"
                  : "automatic"};
  RETURN_IF_ERROR(DescribeFile(inputs, manifest));
  RETURN_IF_ERROR(DescribeStatistics(inputs.statistics_file, manifest));
  report.anchor_name = inputs.anchor_name;
  RETURN_IF_ERROR(CheckRules(inputs.rules, report));

  ASSIGN_OR_RETURN(const std::string manifest_json, manifest.ToJson());
  ASSIGN_OR_RETURN(const Json manifest_value, ParseJson(manifest_json));
  Json losses = Json::array();
  for (const EgressLoss& loss : inputs.losses) {
    losses.push_back({{"log_loss", loss.log_loss},
                      {"model", loss.model},
                      {"text", loss.text_label},
                      {"tokens", loss.tokens}});
  }
  const Json value = {{"type", kReportType},
                      {"anchor", inputs.anchor_name},
                      {"destination", inputs.destination},
                      {"sources", inputs.sources},
                      {"upload_bytes", UploadBytes(manifest)},
                      {"losses", losses},
                      {"manifest", manifest_value},
                      {"policy", RulesJson(inputs.rules)}};
  ASSIGN_OR_RETURN(report.json, DumpJson(value, 2));
  report.text = ReportText(value, manifest);
  report.digest = crypto::Sha256Hex(report.json);
  return report;
}

StatusOr<EgressReport> ParseEgressReport(const std::string& json) {
  EgressReport report;
  ASSIGN_OR_RETURN(const Json value, ParseJson(json));
  if (!value.is_object() || value.value("type", "") != kReportType ||
      !value.contains("manifest")) {
    return InvalidArgument("egress report: wanted type \"{}\" with a manifest",
                           kReportType);
  }
  ASSIGN_OR_RETURN(const std::string manifest_json,
                   DumpJson(value["manifest"]));
  ASSIGN_OR_RETURN(report.manifest,
                   manifest::ExpertManifest::FromJson(manifest_json));
  if (value.contains("anchor") && value["anchor"].is_string()) {
    report.anchor_name = value["anchor"].get<std::string>();
  }
  report.json = json;
  report.digest = crypto::Sha256Hex(json);
  return report;
}

}  // namespace tributary::contributor
