#include <algorithm>
#include <memory>
#include <string_view>

#include "common/rpc/blob_message.h"
#include "contributor/client/blob_transfer.h"
#include "contributor/client/raw_stream.h"
#include "tributary/v1/blob.pb.h"

namespace tributary::contributor {
namespace {

constexpr char kReadMethod[] = "/tributary.v1.BlobService/Read";
// A partial download is made durable this often.
constexpr uint64_t kSyncBytes = 32 << 20;

Status AppendMessage(const grpc::ByteBuffer& message,
                     BlobCache::Download& download) {
  ASSIGN_OR_RETURN(const std::vector<std::string_view> pieces,
                   rpc::ParseReadMessage(message));
  for (const std::string_view piece : pieces) {
    RETURN_IF_ERROR(download.Append(piece));
  }
  return absl::OkStatus();
}

// One Read stream, appended to `download`.
Status ReadStream(const std::shared_ptr<grpc::Channel>& channel,
                  const manifest::BlobName& blob, const RetryOptions& retry,
                  const TransferProgress& progress,
                  BlobCache::Download& download) {
  v1::ReadRequest request;
  request.set_resource_name(blob.ToString());
  request.set_read_offset(static_cast<int64_t>(download.offset()));
  RawStream stream(channel, kReadMethod, retry.cancellation);
  const grpc::Slice slice(request.SerializeAsString());
  stream.StartWrite(grpc::ByteBuffer(&slice, 1));
  if (stream.FinishWrite()) {
    stream.WritesDone();
  }
  grpc::ByteBuffer message;
  uint64_t synced = download.offset();
  while (stream.Read(message)) {
    RETURN_IF_ERROR(AppendMessage(message, download));
    if (progress) {
      progress(download.offset(), blob.size);
    }
    if (download.offset() - synced >= kSyncBytes) {
      synced = download.offset();
      RETURN_IF_ERROR(download.Sync());
    }
  }
  RETURN_IF_ERROR(stream.Finish());
  return download.offset() == blob.size
             ? absl::OkStatus()
             : Unavailable("{}: the download stopped after {} bytes",
                           blob.ToString(), download.offset());
}

}  // namespace

Status DownloadBlob(const std::shared_ptr<grpc::Channel>& channel,
                    const manifest::BlobName& blob, BlobCache& cache,
                    const RetryOptions& retry,
                    const TransferProgress& progress) {
  if (cache.Find(blob).ok()) {
    return absl::OkStatus();
  }
  Retrier retrier(retry);
  for (int wrong = 0;;) {
    ASSIGN_OR_RETURN(BlobCache::Download download, cache.Open(blob));
    const uint64_t before = download.offset();
    Status status = before == blob.size
                        ? absl::OkStatus()
                        : ReadStream(channel, blob, retry, progress, download);
    if (download.offset() > before) {
      retrier.Progressed();
      RETURN_IF_ERROR(download.Sync());
    }
    if (status.ok()) {
      status = download.Finish().status();
      if (absl::IsDataLoss(status) && ++wrong < 2) {
        continue;
      }
      return status;
    }
    RETURN_IF_ERROR(retrier.AfterFailure(status));
  }
}

}  // namespace tributary::contributor
