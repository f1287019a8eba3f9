#pragma once

// An expert manifest against the anchor that it is for and the file that it
// describes.

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/expert_manifest.h"
#include "common/safetensors/header.h"
#include "common/safetensors/reader.h"

namespace tributary::manifest {

// What only the bytes of an expert file tell.
struct ExpertFileFacts {
  std::vector<ExpertManifest::Tensor> tensors;  // in the order of the file
  std::string router_digest;                    // as in ExpertManifest

  friend bool operator==(const ExpertFileFacts&,
                         const ExpertFileFacts&) = default;
};

// Reads every tensor once, in pieces; for making and for checking a manifest.
// INVALID_ARGUMENT when layer 0 has no router tensors or a layer has only one
// of them. CANCELLED when `cancellation` (null: never) is set meanwhile.
StatusOr<ExpertFileFacts> DescribeExpertFile(
    const safetensors::File& file,
    const CancellationToken* cancellation = nullptr);

// Rank of each layer, as the manifest's tensors have it: above 0 where the
// matrices are given as differences to the anchor's. Empty: in no layer.
std::vector<int64_t> RanksOf(const ExpertManifest& manifest);

// What the manifest alone promises. FAILED_PRECONDITION when it is for another
// anchor; INVALID_ARGUMENT when widths are outside the anchor's policy (one per
// layer, multiples of the block, at most max_width, 0 below first_layer, not
// all 0), when the tensor list is not exactly what anchor and widths imply, in
// the file's order, or when the blob cannot hold it.
Status CheckExpertForAnchor(const ExpertManifest& manifest,
                            const AnchorManifest& anchor);

// INVALID_ARGUMENT unless the file's tensors are the manifest's, in the same
// order, with the same dtypes and shapes. Reads no tensor.
Status CheckExpertHeader(const ExpertManifest& manifest,
                         const std::vector<safetensors::TensorInfo>& tensors);

// CheckExpertHeader, and INVALID_ARGUMENT unless size, every tensor's digest
// and the router's digest are the manifest's. (Whether the file is the blob is
// a matter of its own digest: crypto::DigestFile.)
Status CheckExpertFile(const ExpertManifest& manifest,
                       const safetensors::File& file,
                       const CancellationToken* cancellation = nullptr);

}  // namespace tributary::manifest
