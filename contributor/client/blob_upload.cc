#include <fcntl.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>

#include "common/base/files.h"
#include "common/rpc/blob_message.h"
#include "common/rpc/blob_stream.h"
#include "common/rpc/status_conversion.h"
#include "contributor/client/blob_transfer.h"
#include "contributor/client/call_guard.h"
#include "contributor/client/raw_stream.h"
#include "tributary/v1/blob.grpc.pb.h"

namespace tributary::contributor {
namespace {

constexpr char kWriteMethod[] = "/tributary.v1.BlobService/Write";
// Offset corrections in a row that may do without a pause.
constexpr int kFreeCorrections = 3;
constexpr int kQuerySeconds = 30;

void SetDeadline(grpc::ClientContext& context, int seconds) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(seconds));
}

StatusOr<grpc::Slice> ReadPiece(const FileDescriptor& file, uint64_t offset,
                                size_t size) {
  const grpc::Slice bytes(size);
  auto* const data = const_cast<uint8_t*>(bytes.begin());
  size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(file.get(), data + done, size - done,
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

// How much goes into one message: as much as leaves in about a quarter of a
// second, since the other side sees progress by whole messages.
class PieceSize {
 public:
  size_t get() const { return size_; }
  void Sent(double seconds) {
    if (seconds < kAimSeconds) {
      size_ = std::min<size_t>(size_ * 2, rpc::kMaxChunkBytes);
    } else if (seconds > 4 * kAimSeconds) {
      size_ = std::max(size_ / 2, kSmallest);
    }
  }

 private:
  static constexpr double kAimSeconds = 0.25;
  static constexpr size_t kSmallest = 64 << 10;
  size_t size_ = kSmallest;
};

class Uploader {
 public:
  Uploader(const std::shared_ptr<grpc::Channel>& channel,
           const BlobUpload& upload, const RetryOptions& retry,
           const TransferProgress& progress)
      : channel_(channel),
        stub_(v1::BlobService::NewStub(channel)),
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
        stub_->QueryWriteStatus(&context, request, &response));
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

  // The message at `offset`; moves on behind it.
  StatusOr<grpc::ByteBuffer> NextMessage(const FileDescriptor& file, bool first,
                                         uint64_t& offset) {
    const uint64_t size = upload_.blob.size;
    const uint64_t piece = std::min<uint64_t>(piece_.get(), size - offset);
    ASSIGN_OR_RETURN(const grpc::Slice data, ReadPiece(file, offset, piece));
    const std::string blob = first ? upload_.blob.ToString() : "";
    const std::string contribution =
        first ? "contributions/" + upload_.contribution : "";
    const uint64_t start = offset;
    offset += piece;
    return rpc::MakeWriteMessage({.resource_name = blob,
                                  .contribution = contribution,
                                  .write_offset = static_cast<int64_t>(start),
                                  .finish_write = offset == size},
                                 data);
  }

  Status Stream(const FileDescriptor& file, uint64_t offset) {
    RawStream stream(channel_, kWriteMethod, retry_.cancellation);
    const uint64_t size = upload_.blob.size;
    ASSIGN_OR_RETURN(grpc::ByteBuffer message, NextMessage(file, true, offset));
    bool open = true;
    while (open) {
      const double start_s = SystemClock().MonotonicSeconds();
      stream.StartWrite(message);
      const uint64_t sent = offset;
      const bool last = offset == size;
      if (!last) {
        // Read from disk while the piece before is on its way.
        StatusOr<grpc::ByteBuffer> next = NextMessage(file, false, offset);
        open = stream.FinishWrite();
        RETURN_IF_ERROR(next.status());
        message = *std::move(next);
      } else {
        open = stream.FinishWrite();
      }
      piece_.Sent(SystemClock().MonotonicSeconds() - start_s);
      if (open && progress_) {
        progress_(sent, size);
      }
      if (last) {
        break;
      }
    }
    if (open) {
      stream.WritesDone();
    }
    grpc::ByteBuffer answer;
    const bool answered = stream.Read(answer);
    RETURN_IF_ERROR(stream.Finish());
    v1::WriteResponse response;
    grpc::ProtoBufferReader reader(&answer);
    if (!answered || !response.ParseFromZeroCopyStream(&reader) ||
        response.committed_size() < 0) {
      return Internal("{}: the coordinator's answer to an upload is malformed",
                      upload_.blob.ToString());
    }
    const auto committed = static_cast<uint64_t>(response.committed_size());
    if (committed == size) {
      return absl::OkStatus();
    }
    NoteCommitted(committed);
    return Unavailable("{}: the upload stopped after {} of {} bytes",
                       upload_.blob.ToString(), committed, size);
  }

  const std::shared_ptr<grpc::Channel>& channel_;
  const std::unique_ptr<v1::BlobService::Stub> stub_;
  const BlobUpload& upload_;
  const RetryOptions& retry_;
  const TransferProgress& progress_;
  Retrier retrier_;
  PieceSize piece_;
  bool complete_ = false;
  uint64_t committed_ = 0;
};

}  // namespace

std::vector<BlobUpload> UploadsOf(const ApprovedUpload& upload) {
  std::vector<BlobUpload> uploads = {{.contribution = upload.contribution(),
                                      .blob = upload.blob(),
                                      .file = upload.file()}};
  if (upload.statistics()) {
    uploads.push_back({.contribution = upload.contribution(),
                       .blob = *upload.statistics(),
                       .file = upload.statistics_file()});
  }
  return uploads;
}

Status UploadBlob(const std::shared_ptr<grpc::Channel>& channel,
                  const BlobUpload& upload, const RetryOptions& retry,
                  const TransferProgress& progress) {
  return Uploader(channel, upload, retry, progress).Run();
}

}  // namespace tributary::contributor
