#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/blob_name.h"

namespace tributary::manifest {

inline constexpr std::string_view kAnchorManifestType =
    "urn:tributary:anchor-manifest:v1";

// A published anchor: its files, what its model is, and what experts for it
// look like.
struct AnchorManifest {
  struct File {
    std::string path;  // relative, "/" between parts, no "." or ".." parts
    BlobName blob;
    friend bool operator==(const File&, const File&) = default;
  };
  struct Model {
    std::string model_type;  // of config.json: "llama", "olmo2"
    int64_t num_layers = 0;
    int64_t hidden_size = 0;
    int64_t intermediate_size = 0;
    int64_t vocab_size = 0;
    int64_t block = 0;  // unit of expert widths
    friend bool operator==(const Model&, const Model&) = default;
  };
  struct PublicText {
    std::string text_class;  // "class" in JSON; an id such as "prose"
    std::string path;        // one of `files`
    friend bool operator==(const PublicText&, const PublicText&) = default;
  };
  struct ExpertPolicy {
    int64_t first_layer = 0;
    int64_t max_width = 0;
    int64_t top_k = 0;
    bool renormalise = true;
    int64_t window_tokens = 0;
    int64_t windows_per_class = 0;
    int64_t heldout_windows = 0;
    int64_t sample_stride = 0;
    friend bool operator==(const ExpertPolicy&, const ExpertPolicy&) = default;
  };

  std::string name;         // id
  std::vector<File> files;  // sorted bytewise by path, no path twice
  Model model;
  std::vector<PublicText> public_text;
  ExpertPolicy expert_policy;

  // Canonical JSON. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  // INVALID_ARGUMENT naming the field that is unknown, missing or wrong, and
  // for bytes that are not canonical.
  static StatusOr<AnchorManifest> FromJson(std::string_view json);
  // SHA-256 of ToJson(), hexadecimal: the anchor's identity.
  StatusOr<std::string> Digest() const;

  friend bool operator==(const AnchorManifest&,
                         const AnchorManifest&) = default;
};

// Envelope JSON over a statement about {name, digest of the manifest}.
StatusOr<std::string> SignAnchorManifest(const AnchorManifest& manifest,
                                         const crypto::PrivateKey& signer);
// INVALID_ARGUMENT when malformed, UNAUTHENTICATED when not signed by `signer`.
StatusOr<AnchorManifest> OpenAnchorManifest(std::string_view envelope_json,
                                            const crypto::PublicKey& signer);

}  // namespace tributary::manifest
