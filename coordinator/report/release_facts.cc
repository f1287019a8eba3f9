#include "coordinator/report/release_facts.h"

#include <algorithm>
#include <utility>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/crypto/dsse.h"
#include "common/manifest/statement.h"
#include "common/model_format/expert_layout.h"
#include "coordinator/merge/release_directory.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxManifestBytes = 64u << 20;

// The key that an envelope names first; empty when it cannot be read.
std::string KeyIdOf(const std::string& envelope) {
  const auto parsed = crypto::Envelope::FromJson(envelope);
  return parsed.ok() && !parsed->signatures.empty()
             ? parsed->signatures.front().key_id
             : std::string();
}

Status ReadEnvelope(const ReleaseDirectory& names, ReleaseFacts& facts) {
  const StatusOr<std::string> json =
      ReadFile(names.envelope(), kMaxManifestBytes);
  if (absl::IsNotFound(json.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(json.status());
  ASSIGN_OR_RETURN(
      const manifest::Statement statement,
      manifest::ReadStatementUnverified(*json, manifest::kReleaseKind));
  ASSIGN_OR_RETURN(facts.statement, manifest::ReleaseStatement::FromJson(
                                        statement.predicate_json));
  if (facts.statement->manifest_digest != facts.digest) {
    return InvalidArgument("{}: is about a manifest with digest {}, got {}",
                           names.envelope().string(),
                           facts.statement->manifest_digest, facts.digest);
  }
  facts.signer_key_id = KeyIdOf(*json);
  facts.previous_release = facts.statement->previous_release;
  for (const auto& evaluation : facts.statement->evaluation) {
    facts.losses.push_back({"coordinator", evaluation.text_label,
                            evaluation.model, evaluation.log_loss,
                            evaluation.tokens});
  }
  return absl::OkStatus();
}

Status ReadExpert(const ReleaseDirectory& names, ExpertFacts& expert) {
  const fs::path path = names.expert_manifest(expert.entry.contribution);
  const StatusOr<std::string> json = ReadFile(path, kMaxManifestBytes);
  if (absl::IsNotFound(json.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(json.status());
  ASSIGN_OR_RETURN(expert.manifest,
                   manifest::ReadExpertManifestUnverified(*json));
  ASSIGN_OR_RETURN(const std::string digest, expert.manifest->Digest());
  if (digest != expert.entry.manifest_digest) {
    return InvalidArgument("{}: has digest {}, the release names {}",
                           path.string(), digest, expert.entry.manifest_digest);
  }
  expert.key_id = KeyIdOf(*json);
  return absl::OkStatus();
}

// What the owners said in their manifests about their own held-out text.
void AddOwnersLosses(ReleaseFacts& facts) {
  for (const ExpertFacts& expert : facts.experts) {
    if (!expert.manifest || expert.manifest->method.heldout_log_loss_own <= 0) {
      continue;
    }
    const std::string evaluator = "contributors/" + expert.entry.contributor;
    const auto& method = expert.manifest->method;
    facts.losses.push_back({evaluator, expert.entry.contribution, "anchor",
                            method.heldout_log_loss_anchor, 0});
    facts.losses.push_back({evaluator, expert.entry.contribution, "own",
                            method.heldout_log_loss_own, 0});
  }
}

void CountParameters(ReleaseFacts& facts) {
  facts.anchor_parameters = model_format::CountModelParameters(facts.anchor);
  facts.total_parameters = facts.anchor_parameters;
  const auto slots = static_cast<int64_t>(facts.experts.size()) + 1;
  const double chosen =
      static_cast<double>(std::min(facts.release.routing.top_k, slots)) /
      static_cast<double>(slots);
  double active = static_cast<double>(facts.anchor_parameters);
  for (ExpertFacts& expert : facts.experts) {
    const auto count = model_format::CountExpertParameters(
        facts.anchor, {expert.entry.widths});
    expert.parameters = count.total();
    facts.total_parameters += count.total();
    active += chosen * static_cast<double>(count.mlp) +
              static_cast<double>(count.router);
  }
  facts.active_parameters = static_cast<int64_t>(active);
}

// The licence that a model card names, or that a licence file begins with.
std::string FindLicence(const fs::path& anchor) {
  const StatusOr<std::string> card = ReadFile(anchor / "README.md", 1u << 20);
  if (card.ok() && card->starts_with("---")) {
    const size_t at = card->find("\nlicense:");
    const size_t end = card->find("\n---", 3);
    if (at < end) {
      const size_t begin = card->find_first_not_of(" \t", at + 9);
      const size_t line = card->find('\n', at + 1);
      if (begin < line) {
        return card->substr(begin, line - begin);
      }
    }
  }
  const StatusOr<std::string> text = ReadFile(anchor / "LICENSE", 1u << 20);
  if (text.ok()) {
    const size_t begin = text->find_first_not_of(" \t\r\n");
    if (begin != std::string::npos) {
      return text->substr(begin, text->find('\n', begin) - begin);
    }
  }
  return "";
}

}  // namespace

std::string ReleaseFacts::name() const {
  return statement ? statement->release : "merge over " + release.anchor.name;
}

StatusOr<ReleaseFacts> ReadReleaseFacts(const fs::path& folder) {
  const ReleaseDirectory names(folder);
  ASSIGN_OR_RETURN(const std::string json,
                   ReadFile(names.manifest(), kMaxManifestBytes));
  ReleaseFacts facts;
  ASSIGN_OR_RETURN(facts.release, manifest::ReleaseManifest::FromJson(json));
  facts.digest = crypto::Sha256Hex(json);
  ASSIGN_OR_RETURN(facts.anchor, model_format::LoadModelConfig(names.anchor()));
  facts.anchor_licence = FindLicence(names.anchor());
  RETURN_IF_ERROR(ReadEnvelope(names, facts));
  for (const auto& entry : facts.release.experts) {
    if (static_cast<int64_t>(entry.widths.size()) != facts.anchor.num_layers) {
      return InvalidArgument("{}: {} has {} widths for {} layers",
                             names.manifest().string(), entry.contribution,
                             entry.widths.size(), facts.anchor.num_layers);
    }
    ExpertFacts expert{.entry = entry};
    RETURN_IF_ERROR(ReadExpert(names, expert));
    facts.experts.push_back(std::move(expert));
  }
  AddOwnersLosses(facts);
  CountParameters(facts);
  return facts;
}

std::string DescribeWidths(const std::vector<int64_t>& widths) {
  int64_t layers = 0;
  int64_t low = 0;
  int64_t high = 0;
  for (const int64_t width : widths) {
    if (width > 0) {
      low = layers == 0 ? width : std::min(low, width);
      high = std::max(high, width);
      ++layers;
    }
  }
  if (layers == 0) {
    return "no weights";
  }
  const std::string size = low == high
                               ? fmt::format("width {}", low)
                               : fmt::format("widths {} to {}", low, high);
  return fmt::format("{} in {} of {} layers", size, layers, widths.size());
}

std::string Grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (auto at = static_cast<int64_t>(text.size()) - 3; at > (number < 0);
       at -= 3) {
    text.insert(static_cast<size_t>(at), ",");
  }
  return text;
}

}  // namespace tributary::coordinator
