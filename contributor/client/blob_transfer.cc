#include "contributor/client/blob_transfer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <optional>

#include "common/base/files.h"
#include "common/rpc/blob_stream.h"
#include "common/rpc/status_conversion.h"
#include "contributor/client/call_guard.h"

namespace tributary::contributor {
namespace {

// A partial download is made durable this often.
constexpr uint64_t kSyncBytes = 32 << 20;
// Offset corrections in a row that may do without a pause.
constexpr int kFreeCorrections = 3;
constexpr int kQuerySeconds = 30;

void SetDeadline(grpc::ClientContext& context, int seconds) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(seconds));
}

StatusOr<std::string> ReadPiece(const FileDescriptor& file, uint64_t offset,
                                uint64_t size) {
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(file.get(), bytes.data() + done, size - done,
                              static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return DataLoss("the file to send became shorter while it was sent");
    }
    done += static_cast<size_t>(got);
  }
  return bytes;
}

// The committed size that an ABORTED stream tells, if it does.
std::optional<uint64_t> CorrectedOffset(const Status& status) {
  const auto info = rpc::GetErrorInfo(status);
  if (!info || info->reason != rpc::kWriteOffsetMismatch) {
    return std::nullopt;
  }
  const auto found = info->metadata.find(rpc::kCommittedSizeKey);
  if (found == info->metadata.end()) {
    return std::nullopt;
  }
  uint64_t value = 0;
  const std::string& text = found->second;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

class Uploader {
 public:
  Uploader(v1::BlobService::StubInterface& stub, const BlobUpload& upload,
           const RetryOptions& retry, const TransferProgress& progress)
      : stub_(stub),
        upload_(upload),
        retry_(retry),
        progress_(progress),
        retrier_(retry) {}

  Status Run() {
    ASSIGN_OR_RETURN(const FileDescriptor file,
                     OpenFile(upload_.file, O_RDONLY));
    int corrections = 0;
    std::optional<uint64_t> offset;
    while (true) {
      Status status = absl::OkStatus();
      if (!offset) {
        status = Query(offset);
      }
      if (status.ok()) {
        if (complete_ || *offset > upload_.blob.size) {
          return complete_ ? absl::OkStatus()
                           : Internal(
                                 "{}: the coordinator says it holds {} "
                                 "bytes",
                                 upload_.blob.ToString(), *offset);
        }
        NoteCommitted(*offset);
        status = Stream(file, *offset);
        if (status.ok()) {
          return status;
        }
      }
      offset = CorrectedOffset(status);
      if (offset && ++corrections <= kFreeCorrections) {
        continue;
      }
      RETURN_IF_ERROR(retrier_.AfterFailure(status));
      corrections = 0;
    }
  }

 private:
  Status Query(std::optional<uint64_t>& offset) {
    grpc::ClientContext context;
    SetDeadline(context, kQuerySeconds);
    const CallGuard guard(context, retry_.cancellation);
    v1::QueryWriteStatusRequest request;
    request.set_resource_name(upload_.blob.ToString());
    request.set_contribution("contributions/" + upload_.contribution);
    v1::QueryWriteStatusResponse response;
    const Status status = rpc::FromGrpcStatus(
        stub_.QueryWriteStatus(&context, request, &response));
    if (absl::IsNotFound(status)) {
      offset = 0;
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(status);
    complete_ = response.complete();
    if (response.committed_size() < 0) {
      return Internal("{}: the coordinator says it holds {} bytes",
                      upload_.blob.ToString(), response.committed_size());
    }
    offset = static_cast<uint64_t>(response.committed_size());
    return absl::OkStatus();
  }

  void NoteCommitted(uint64_t offset) {
    if (offset > committed_) {
      committed_ = offset;
      retrier_.Progressed();
    }
  }

  Status Stream(const FileDescriptor& file, uint64_t offset) {
    grpc::ClientContext context;
    const CallGuard guard(context, retry_.cancellation);
    v1::WriteResponse response;
    const auto writer = stub_.Write(&context, &response);
    const uint64_t size = upload_.blob.size;
    bool first = true;
    bool open = true;
    while (open && (first || offset < size)) {
      const uint64_t piece =
          std::min<uint64_t>(rpc::kMaxChunkBytes, size - offset);
      v1::WriteRequest request;
      if (first) {
        request.set_resource_name(upload_.blob.ToString());
        request.set_contribution("contributions/" + upload_.contribution);
        first = false;
      }
      request.set_write_offset(static_cast<int64_t>(offset));
      ASSIGN_OR_RETURN(*request.mutable_data(), ReadPiece(file, offset, piece));
      offset += piece;
      request.set_finish_write(offset == size);
      open = writer->Write(request);
      if (open && progress_) {
        progress_(offset, size);
      }
    }
    if (open) {
      writer->WritesDone();
    }
    RETURN_IF_ERROR(rpc::FromGrpcStatus(writer->Finish()));
    const auto committed = static_cast<uint64_t>(response.committed_size());
    if (committed == size) {
      return absl::OkStatus();
    }
    NoteCommitted(committed);
    return Unavailable("{}: the upload stopped after {} of {} bytes",
                       upload_.blob.ToString(), committed, size);
  }

  v1::BlobService::StubInterface& stub_;
  const BlobUpload& upload_;
  const RetryOptions& retry_;
  const TransferProgress& progress_;
  Retrier retrier_;
  bool complete_ = false;
  uint64_t committed_ = 0;
};

// One Read stream, appended to `download`.
Status ReadStream(v1::BlobService::StubInterface& stub,
                  const manifest::BlobName& blob, const RetryOptions& retry,
                  const TransferProgress& progress,
                  BlobCache::Download& download) {
  grpc::ClientContext context;
  const CallGuard guard(context, retry.cancellation);
  v1::ReadRequest request;
  request.set_resource_name(blob.ToString());
  request.set_read_offset(static_cast<int64_t>(download.offset()));
  const auto reader = stub.Read(&context, request);
  v1::ReadResponse response;
  uint64_t synced = download.offset();
  Status local = absl::OkStatus();
  while (local.ok() && reader->Read(&response)) {
    local = download.Append(response.data());
    if (local.ok() && progress) {
      progress(download.offset(), blob.size);
    }
    if (local.ok() && download.offset() - synced >= kSyncBytes) {
      synced = download.offset();
      local = download.Sync();
    }
  }
  if (!local.ok()) {
    context.TryCancel();
    while (reader->Read(&response)) {
    }
    reader->Finish();
    return local;
  }
  RETURN_IF_ERROR(rpc::FromGrpcStatus(reader->Finish()));
  return download.offset() == blob.size
             ? absl::OkStatus()
             : Unavailable("{}: the download stopped after {} bytes",
                           blob.ToString(), download.offset());
}

}  // namespace

Status UploadBlob(v1::BlobService::StubInterface& stub,
                  const BlobUpload& upload, const RetryOptions& retry,
                  const TransferProgress& progress) {
  return Uploader(stub, upload, retry, progress).Run();
}

Status DownloadBlob(v1::BlobService::StubInterface& stub,
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
                        : ReadStream(stub, blob, retry, progress, download);
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
