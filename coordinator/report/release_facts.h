#pragma once

// Everything that a release's card and page tell, gathered from its folder;
// what only the coordinator knows is added by the caller.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/expert_manifest.h"
#include "common/manifest/release_manifest.h"
#include "common/model_format/model_config.h"

namespace tributary::coordinator {

struct ExpertFacts {
  manifest::ReleaseManifest::Expert entry;
  int64_t parameters = 0;
  // As signed; nothing in a fetched release, which has digests only.
  std::optional<manifest::ExpertManifest> manifest;
  std::string key_id;  // of its signature; empty without a manifest
};

// Log-loss of a model on held-out text of somebody, nats per token.
struct LossFact {
  std::string evaluator;  // "coordinator" or contributors/x
  std::string text;
  std::string model;  // anchor, own, release, previous
  double log_loss = 0;
  int64_t tokens = 0;
};

struct WithdrawalFact {
  std::string contribution;
  std::string contributor;
  std::string state;
  int64_t time_s = 0;
  std::vector<std::string> releases;  // that it took out of service
  std::string new_release;            // empty: none
};

struct ReleaseFacts {
  manifest::ReleaseManifest release;
  std::string digest;  // of the manifest
  // From the envelope, where there is one.
  std::optional<manifest::ReleaseStatement> statement;
  std::string signer_key_id;
  std::string state;  // PUBLISHED, ...; empty when nobody knows

  model_format::ModelConfig anchor;
  std::string anchor_licence;  // empty: it does not say
  int64_t anchor_parameters = 0;
  int64_t total_parameters = 0;
  // Of one token on average when all experts are chosen equally often.
  int64_t active_parameters = 0;
  std::vector<ExpertFacts> experts;

  std::vector<LossFact> losses;
  std::vector<WithdrawalFact> withdrawals;
  std::string previous_release;
  // What was verified, and what was not, each a sentence.
  std::vector<std::string> verified;
  std::vector<std::string> unverified;

  // "releases/3", or the name of the folder's anchor without an envelope.
  std::string name() const;
};

// Reads a native release directory. Checks that the envelope's statement and
// the expert manifests are those that release.json names (INVALID_ARGUMENT
// otherwise), not their signatures. Losses are those of the statement and of
// the owners' manifests. Otherwise errors as ReleaseManifest::FromJson and
// LoadModelConfig.
StatusOr<ReleaseFacts> ReadReleaseFacts(const std::filesystem::path& folder);

// "width 256 in 10 of 30 layers", "widths 128 to 512 in 20 of 30 layers".
std::string DescribeWidths(const std::vector<int64_t>& widths);

// "134,515,008".
std::string Grouped(int64_t number);

}  // namespace tributary::coordinator
