#pragma once

#include <filesystem>

#include "common/manifest/blob_name.h"
#include "tests/benchmarks/upload/loopback.h"

namespace tributary::benchmarks {

// What no upload can do without, over a link without gRPC: one thread reads the
// file and sends, one receives, one writes, hashes and makes durable with the
// coordinator's own blob writer. Seconds from the first byte to the blob under
// its name, in `folder`.
StatusOr<double> BareUploadSeconds(Link::Kind kind,
                                   const std::filesystem::path& file,
                                   const manifest::BlobName& blob,
                                   const std::filesystem::path& folder);

}  // namespace tributary::benchmarks
