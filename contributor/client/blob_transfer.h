#pragma once

// Uploads and downloads over BlobService, each going on from what is durable.

#include <grpcpp/channel.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/blob_name.h"
#include "contributor/cache/blob_cache.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/client/retry_call.h"

namespace tributary::contributor {

// Transfers of one client that run at the same time.
inline constexpr int kParallelTransfers = 4;

struct BlobUpload {
  std::string contribution;  // id
  manifest::BlobName blob;
  std::filesystem::path file;
};

// What goes out for an approved contribution: the expert, then its statistics.
std::vector<BlobUpload> UploadsOf(const ApprovedUpload& upload);

// Sends the bytes from the coordinator's committed size on until it has them
// all. A lost connection is tried again while there is progress; everything
// else is permanent and stops at once. The next piece is read from disk while
// one is sent; pieces grow from 64 KiB to 1 MiB with the speed of the line, so
// that a slow one still shows progress.
Status UploadBlob(const std::shared_ptr<grpc::Channel>& channel,
                  const BlobUpload& upload, const RetryOptions& retry,
                  const TransferProgress& progress);

// Fetches the bytes behind what the cache has and verifies them. Bytes that
// turn out wrong are fetched anew once, then DATA_LOSS.
Status DownloadBlob(const std::shared_ptr<grpc::Channel>& channel,
                    const manifest::BlobName& blob, BlobCache& cache,
                    const RetryOptions& retry,
                    const TransferProgress& progress);

// Runs `transfer(i, progress)` for every i below sizes.size(), at most
// kParallelTransfers at a time, and adds up their progress. The first error
// ends it: nothing new is begun.
Status TransferAll(
    const std::vector<uint64_t>& sizes,
    const std::function<Status(size_t, const TransferProgress&)>& transfer,
    const TransferProgress& progress);

}  // namespace tributary::contributor
