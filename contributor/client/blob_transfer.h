#pragma once

// Uploads and downloads over BlobService, each going on from what is durable.

#include <filesystem>
#include <string>

#include "common/base/status.h"
#include "common/manifest/blob_name.h"
#include "contributor/cache/blob_cache.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/client/retry_call.h"
#include "tributary/v1/blob.grpc.pb.h"

namespace tributary::contributor {

struct BlobUpload {
  std::string contribution;  // id
  manifest::BlobName blob;
  std::filesystem::path file;
};

// Sends the bytes from the coordinator's committed size on until it has them
// all. A lost connection is tried again while there is progress; everything
// else is permanent and stops at once.
Status UploadBlob(v1::BlobService::StubInterface& stub,
                  const BlobUpload& upload, const RetryOptions& retry,
                  const TransferProgress& progress);

// Fetches the bytes behind what the cache has and verifies them. Bytes that
// turn out wrong are fetched anew once, then DATA_LOSS.
Status DownloadBlob(v1::BlobService::StubInterface& stub,
                    const manifest::BlobName& blob, BlobCache& cache,
                    const RetryOptions& retry,
                    const TransferProgress& progress);

}  // namespace tributary::contributor
