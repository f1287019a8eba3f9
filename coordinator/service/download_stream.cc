#include "coordinator/service/download_stream.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "common/rpc/blob_message.h"
#include "common/rpc/blob_stream.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/readable_blobs.h"
#include "coordinator/service/stream_end.h"
#include "coordinator/service/stream_steps.h"
#include "tributary/v1/blob.pb.h"

namespace tributary::coordinator {
namespace {

StatusOr<v1::ReadRequest> ParseRequest(const grpc::ByteBuffer& buffer) {
  v1::ReadRequest request;
  grpc::ByteBuffer copy = buffer;
  if (!copy.Valid()) {
    return request;
  }
  grpc::ProtoBufferReader reader(&copy);
  if (!request.ParseFromZeroCopyStream(&reader)) {
    return InvalidArgument("malformed message: no ReadRequest");
  }
  return request;
}

class DownloadStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                             public StreamSteps {
 public:
  DownloadStream(const ServiceContext& context,
                 grpc::CallbackServerContext& call,
                 const grpc::ByteBuffer& request)
      : StreamSteps(context.pool),
        context_(context),
        end_(context, call, "BlobService.Read",
             v1::ReadRequest::default_instance()),
        call_(call),
        request_(request) {}

  void Start() {
    Keep();
    Schedule();
  }

  void OnWriteDone(bool ok) override {
    std::shared_ptr<StreamRegistry::Place> place;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      writing_ = false;
      place = place_;
    }
    if (place) {
      place->Touch();
    }
    if (ok) {
      Schedule();
    } else {
      End(absl::CancelledError("the reader has gone"));
    }
  }

  void OnCancel() override { End(absl::CancelledError("the reader has gone")); }

  void OnDone() override { Release(); }

 private:
  // A write that runs has to end before the stream can.
  bool HasWork() const override {
    return !writing_ ||
           (!ending() && error_.ok() && !next_ && offset_ < name_.size);
  }

  void OnEnd() override {
    bool stuck = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stuck = writing_;
    }
    if (stuck) {
      call_.TryCancel();
    }
  }

  std::optional<Status> Step() override {
    if (!reader_) {
      if (const Status opened = Open(); !opened.ok()) {
        return opened;
      }
    }
    if (error_.ok() && !next_ && offset_ < name_.size) {
      // What is on its way arrives before the error does.
      Status status = ReadNext();
      const std::lock_guard<std::mutex> lock(mutex_);
      error_ = std::move(status);
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (writing_) {
        return std::nullopt;
      }
      if (!error_.ok() || !next_) {
        return error_;
      }
      writing_ = true;
      current_ = std::move(*next_);
      next_.reset();
    }
    StartWrite(&current_);
    return std::nullopt;
  }

  Status Open() {
    const Core& core = context_.core;
    seen_changes_ = core.database.changes();
    ASSIGN_OR_RETURN(caller_, RequireReader(core, call_));
    ASSIGN_OR_RETURN(const v1::ReadRequest request, ParseRequest(request_));
    ASSIGN_OR_RETURN(const BlobName name,
                     BlobName::Parse(request.resource_name()));
    RETURN_IF_ERROR(CheckReadable(core, caller_, name));
    if (request.read_offset() < 0 ||
        static_cast<uint64_t>(request.read_offset()) > name.size) {
      return OutOfRange("read_offset: got {}, the blob has {} bytes",
                        request.read_offset(), name.size);
    }
    ASSIGN_OR_RETURN(
        std::shared_ptr<StreamRegistry::Place> place,
        context_.streams.Enter(caller_.uri, StreamKind::kDownload,
                               [self = weak_from_this()](const Status& status) {
                                 if (const auto stream = self.lock()) {
                                   stream->End(status);
                                 }
                               }));
    ASSIGN_OR_RETURN(reader_, core.catalog.store().OpenReader(name));
    const std::lock_guard<std::mutex> lock(mutex_);
    place_ = std::move(place);
    name_ = name;
    offset_ = static_cast<uint64_t>(request.read_offset());
    return absl::OkStatus();
  }

  // Reads a piece ahead. A withdrawal or revocation ends downloads that run.
  Status ReadNext() {
    const Core& core = context_.core;
    if (const uint64_t now = core.database.changes(); now != seen_changes_) {
      seen_changes_ = now;
      RETURN_IF_ERROR(CheckStillAllowed(core, caller_));
      RETURN_IF_ERROR(CheckReadable(core, caller_, name_));
    }
    const size_t size = static_cast<size_t>(
        std::min<uint64_t>(rpc::kMaxChunkBytes, name_.size - offset_));
    const grpc::Slice slice(size);
    ASSIGN_OR_RETURN(
        const size_t got,
        reader_->Read(offset_,
                      std::span<char>(reinterpret_cast<char*>(
                                          const_cast<uint8_t*>(slice.begin())),
                                      size)));
    if (got != size) {
      return DataLoss("{}: the stored file ends at {}", name_.ToString(),
                      offset_ + got);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    next_ = rpc::MakeReadMessage(slice);
    offset_ += size;
    end_.bytes_sent += size;
    return absl::OkStatus();
  }

  void Conclude(const Status& status) override {
    std::shared_ptr<StreamRegistry::Place> place;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      place = std::move(place_);
      next_.reset();
    }
    place.reset();
    reader_.reset();
    Finish(end_.Convert(status));
  }

  const ServiceContext& context_;
  StreamEnd end_;
  grpc::CallbackServerContext& call_;
  const grpc::ByteBuffer request_;

  // Used by one step at a time.
  Caller caller_;
  uint64_t seen_changes_ = 0;
  std::unique_ptr<BlobReader> reader_;

  // Guarded by mutex_; `error_`, `name_` and `offset_` change in steps only.
  Status error_;
  BlobName name_;
  uint64_t offset_ = 0;
  std::optional<grpc::ByteBuffer> next_;
  grpc::ByteBuffer current_;  // of the write that runs
  std::shared_ptr<StreamRegistry::Place> place_;
  bool writing_ = false;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartDownload(
    const ServiceContext& context, grpc::CallbackServerContext& call,
    const grpc::ByteBuffer& request) {
  const auto stream = std::make_shared<DownloadStream>(context, call, request);
  stream->Start();
  return stream.get();
}

}  // namespace tributary::coordinator
