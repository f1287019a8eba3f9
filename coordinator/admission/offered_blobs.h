#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/expert_manifest.h"
#include "coordinator/blob/blob_store.h"
#include "coordinator/storage/contribution_store.h"

namespace tributary::coordinator {

// The router statistics that a contribution's manifest names, if any; nothing
// once it is purged.
StatusOr<std::optional<BlobName>> StatisticsOf(const ContributionRow& row);

// All blobs that a contribution consists of: the expert file first.
StatusOr<std::vector<BlobName>> OfferedBlobs(const ContributionRow& row);

// Largest statistics file for an anchor, bytes.
uint64_t MaxStatisticsBytes(const manifest::AnchorManifest& anchor);

}  // namespace tributary::coordinator
