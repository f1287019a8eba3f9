#pragma once

// The gates of admission that need no tensors' values: pure checks of what was
// signed and of the file's layout.

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/expert_manifest.h"
#include "coordinator/storage/decision.h"

namespace tributary::coordinator {

// Widths fit the anchor's policy: one per layer, 0 below the first layer,
// multiples of the block, at most the highest width, not all 0; the file is not
// larger than an expert may be. INVALID_ARGUMENT says what is wrong.
Status CheckWidths(const manifest::ExpertManifest& expert,
                   const manifest::AnchorManifest& anchor);

// The tensor list is exactly what anchor and widths imply, in order.
Status CheckTensorList(const manifest::ExpertManifest& expert,
                       const manifest::AnchorManifest& anchor);

// The file holds exactly the listed tensors with their digests, and the router
// digest is that of its rows.
Status CheckFileAgainstManifest(const std::string& file,
                                const manifest::ExpertManifest& expert);

// A gate's result from a check: passed with `detail`, or failed with the
// status's message.
GateResult GateFrom(const std::string& gate, const Status& status,
                    const std::string& detail);

}  // namespace tributary::coordinator
