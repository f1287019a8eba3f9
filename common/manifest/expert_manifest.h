#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/blob_name.h"

namespace tributary::manifest {

inline constexpr std::string_view kExpertManifestType =
    "urn:tributary:expert-manifest:v1";

// What a contributor signs about the one expert file of a contribution.
struct ExpertManifest {
  struct Tensor {
    std::string name;
    std::string dtype;  // as in safetensors: "BF16", "F32"
    std::vector<int64_t> shape;
    std::string sha256;  // of the tensor's bytes, hexadecimal
    friend bool operator==(const Tensor&, const Tensor&) = default;
  };
  // How it was made; numbers and names only, never text.
  struct Method {
    std::string recipe;         // "train", "prune_and_distil", ...
    std::string importance;     // formula of the importance score
    std::string router_method;  // "logistic", "closed_form"
    bool folded = false;        // the bias is folded into the row
    std::string teacher;        // empty: none
    int64_t steps = 0;
    int64_t tokens = 0;
    int64_t documents = 0;
    int64_t epochs = 0;
    uint64_t seed = 0;
    double learning_rate = 0;
    // Nats per token.
    double train_loss_first = 0;
    double train_loss_last = 0;
    double heldout_log_loss_anchor = 0;
    double heldout_log_loss_own = 0;
    double text_share = 0;  // of the text's own loss in distillation, 0 to 1
    std::string software;   // name and version
    friend bool operator==(const Method&, const Method&) = default;
  };
  struct Privacy {
    std::string differential_privacy = "none";
    int64_t minimum_documents = 0;
    friend bool operator==(const Privacy&, const Privacy&) = default;
  };
  struct Approval {
    std::string approver;
    std::string policy_version;
    int64_t time_s = 0;  // seconds since the Unix epoch
    std::string mode;    // "person" or "automatic"
    friend bool operator==(const Approval&, const Approval&) = default;
  };

  std::string federation;
  std::string contribution;     // id
  std::string contributor;      // id
  std::string anchor_digest;    // AnchorManifest::Digest()
  BlobName blob;                // the expert file
  // Sums over the MoE inputs of the own text, for routers that the coordinator
  // solves; nothing when they stay at home.
  std::optional<BlobName> router_statistics;
  std::vector<int64_t> widths;  // one per layer of the anchor
  std::vector<Tensor> tensors;  // in the order of the file
  // SHA-256 over the bytes of all router tensors, layer by layer, weight then
  // bias; hexadecimal.
  std::string router_digest;
  Method method;
  Privacy privacy;
  Approval approval;

  // Canonical JSON. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  // INVALID_ARGUMENT naming the field that is unknown, missing or wrong, and
  // for bytes that are not canonical.
  static StatusOr<ExpertManifest> FromJson(std::string_view json);
  // SHA-256 of ToJson(), hexadecimal.
  StatusOr<std::string> Digest() const;

  friend bool operator==(const ExpertManifest&,
                         const ExpertManifest&) = default;
};

// Envelope JSON over a statement about {contribution, SHA-256 of the blob}.
StatusOr<std::string> SignExpertManifest(const ExpertManifest& manifest,
                                         const crypto::PrivateKey& key);
// INVALID_ARGUMENT when malformed or when the subject is not the manifest's
// own, UNAUTHENTICATED when not signed by `key`.
StatusOr<ExpertManifest> OpenExpertManifest(std::string_view envelope_json,
                                            const crypto::PublicKey& key);
// The same without verifying the signature.
StatusOr<ExpertManifest> ReadExpertManifestUnverified(
    std::string_view envelope_json);

}  // namespace tributary::manifest
