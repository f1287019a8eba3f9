#pragma once

// The gates of admission that the coordinator runs itself: checks of what was
// signed and of digests, none of values.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/expert_manifest.h"
#include "coordinator/storage/decision.h"

namespace tributary::coordinator {

// The manifest fits the anchor and its policy (manifest::CheckExpertForAnchor),
// and no file is larger than it may be.
Status CheckOffer(const manifest::ExpertManifest& expert,
                  const manifest::AnchorManifest& anchor);

// INVALID_ARGUMENT when a layer is wider than `max_width`; nothing is
// unlimited.
Status CheckWidths(const manifest::ExpertManifest& expert,
                   std::optional<int64_t> max_width);

// The file has no metadata and exactly the tensors, digests included, that the
// manifest lists (manifest::CheckExpertFile).
Status CheckOfferedFile(const std::filesystem::path& path,
                        const manifest::ExpertManifest& expert,
                        const CancellationToken& cancellation);

// A gate's result from a check: passed with `detail`, or failed with the
// status's message.
GateResult GateFrom(const std::string& gate, const Status& status,
                    const std::string& detail);

}  // namespace tributary::coordinator
