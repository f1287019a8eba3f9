#pragma once

// What would leave the site for one contribution: for a person to read and for
// a program to check, before anything is sent.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/expert_manifest.h"

namespace tributary::contributor {

// The site's own rules. They win over whatever the coordinator asks.
struct SiteRules {
  int64_t min_documents = 8;
  int64_t min_tokens = 2048;
  uint64_t max_upload_bytes = 0;  // 0: no limit
  std::string version = "unversioned";
  enum class Approval { kPerson, kAutomatic } approval = Approval::kPerson;
  // Different persons who have to agree.
  int required_approvers = 1;
  // When there are any, each approval is signed with another one of them.
  std::vector<crypto::PublicKey> approver_keys;
  // Names or digests; empty: experts may be made for any anchor.
  std::vector<std::string> allowed_anchors;
  // Whether losses may be sent.
  enum class Statistics { kSend, kWithhold } statistics = Statistics::kSend;
  // Whether sums over private activations may be sent.
  Statistics router_statistics = Statistics::kWithhold;
};

// PERMISSION_DENIED when the rules do not allow experts for this anchor.
Status CheckAnchor(const SiteRules& rules, std::string_view name,
                   std::string_view digest);

// A measured loss that goes into the report.
struct EgressLoss {
  std::string text_label;  // "own" or "public"
  std::string model;       // "anchor", "own", "own_unfolded"
  double log_loss = 0;     // nats per token
  int64_t tokens = 0;
};

// What a report is made from.
struct EgressInputs {
  std::string federation;
  std::string contributor;   // id
  std::string contribution;  // id
  std::string destination;   // host:port of the coordinator
  std::string anchor_name;
  std::string anchor_digest;
  std::filesystem::path anchor_directory;
  std::filesystem::path expert_file;
  // Sums over MoE inputs (second_moments.safetensors); empty: none go out.
  std::filesystem::path statistics_file;
  manifest::ExpertManifest::Method method;
  // Where the private text lies: for the reader on site.
  std::vector<std::string> sources;
  std::vector<EgressLoss> losses;
  SiteRules rules;
};

struct EgressReport {
  // The manifest that would be signed; its approval is not yet filled in.
  manifest::ExpertManifest manifest;
  // JSON for programs, text for a person; the same facts.
  std::string json;
  std::string text;
  std::string anchor_name;
  // SHA-256 (hex) of `json`: what an approval refers to.
  std::string digest;
};

// Reads the expert file and checks that it holds the allow-listed tensors and
// nothing else. INVALID_ARGUMENT for another file; PERMISSION_DENIED when a
// rule of the site forbids sending it, with the numbers.
StatusOr<EgressReport> BuildEgressReport(const EgressInputs& inputs);

// The report that was written before. INVALID_ARGUMENT when it is damaged.
StatusOr<EgressReport> ParseEgressReport(const std::string& json);

// PERMISSION_DENIED when fewer documents or tokens than the rules demand went
// in, more bytes than they allow would go out, losses would although they are
// to be withheld, or the anchor is not one of those allowed.
Status CheckRules(const SiteRules& rules, const EgressReport& report);

}  // namespace tributary::contributor
