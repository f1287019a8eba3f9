#include "coordinator/service/upload_stream.h"

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "common/manifest/resource_name.h"
#include "common/rpc/blob_message.h"
#include "common/rpc/blob_stream.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/stream_end.h"
#include "coordinator/service/stream_steps.h"
#include "coordinator/service/upload_session.h"
#include "tributary/v1/blob.pb.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;

// Messages that wait for the work pool, beside the one that it works on.
constexpr size_t kQueuedMessages = 2;

grpc::ByteBuffer ToBuffer(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

class UploadStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                           public StreamSteps {
 public:
  UploadStream(const ServiceContext& context, grpc::CallbackServerContext& call,
               grpc::ByteBuffer& response)
      : StreamSteps(context.pool),
        context_(context),
        end_(context, call, "BlobService.Write",
             v1::WriteRequest::default_instance()),
        call_(call),
        response_(response) {}

  void Start() {
    Keep();
    // Who has no certificate is refused before anything is read.
    if (const Status status = rpc::PeerOf(*call_.auth_context()).status();
        !status.ok()) {
      End(status);
      return;
    }
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    bool more = false;
    std::shared_ptr<StreamRegistry::Place> place;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (ok) {
        queue_.push_back(std::move(incoming_));
        incoming_.Clear();
        paused_ = queue_.size() >= kQueuedMessages;
        more = !paused_ && !finished();
        place = place_;
      } else {
        input_ended_ = true;
      }
    }
    if (place) {
      place->Touch();
    }
    if (more) {
      StartRead(&incoming_);
    }
    Schedule();
  }

  void OnCancel() override { End(absl::CancelledError("the client has gone")); }

  void OnDone() override { Release(); }

 private:
  bool HasWork() const override {
    return ending() || granted_ != nullptr ||
           (!claiming_ && (!queue_.empty() || input_ended_));
  }

  std::optional<Status> Step() override {
    std::optional<grpc::ByteBuffer> message;
    std::unique_ptr<UploadRegistry::Lease> lease;
    bool resume = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (granted_) {
        lease = std::move(granted_);
      } else if (!queue_.empty()) {
        message = std::move(queue_.front());
        queue_.pop_front();
        resume = std::exchange(paused_, false);
      }
    }
    if (resume) {
      StartRead(&incoming_);
    }
    if (lease) {
      return Granted(std::move(lease));
    }
    return message ? Take(*message) : HalfClosed();
  }

  // The client sent everything that it wanted without finishing.
  Status HalfClosed() {
    if (!session_) {
      return InvalidArgument("the stream has no message");
    }
    RETURN_IF_ERROR(session_->Commit());
    return absl::OkStatus();
  }

  // What was good before stays.
  Status Stop(const Status& status) override {
    if (session_) {
      session_->Commit().IgnoreError();
    }
    return status;
  }

  std::optional<Status> Take(const grpc::ByteBuffer& buffer) {
    StatusOr<rpc::WriteMessage> message = rpc::ParseWriteMessage(buffer);
    if (!message.ok()) {
      return Stop(message.status());
    }
    if (static_cast<int64_t>(message->data_size) > rpc::kMaxChunkBytes) {
      return Stop(InvalidArgument("data: got {} bytes, wanted at most {}",
                                  message->data_size, rpc::kMaxChunkBytes));
    }
    end_.bytes_received += message->data_size;
    if (session_) {
      return Append(*message);
    }
    const Status opened = Open(*message);
    if (!opened.ok() || session_->complete()) {
      return opened;
    }
    first_ = buffer;
    Claim();
    return std::nullopt;
  }

  // The first message says what is uploaded.
  Status Open(const rpc::WriteMessage& message) {
    const Core& core = context_.core;
    seen_changes_ = core.database.changes();
    ASSIGN_OR_RETURN(const Caller caller, RequireContributor(core, call_));
    caller_ = caller;
    ASSIGN_OR_RETURN(
        std::shared_ptr<StreamRegistry::Place> place,
        context_.streams.Enter(caller.uri, StreamKind::kUpload, Ender()));
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      place_ = std::move(place);
    }
    UploadSession::Target target{.contributor = caller.id};
    ASSIGN_OR_RETURN(target.blob, BlobName::Parse(message.resource_name));
    ASSIGN_OR_RETURN(target.contribution,
                     manifest::ParseResourceName(Collection::kContributions,
                                                 message.contribution));
    ASSIGN_OR_RETURN(session_, UploadSession::Open(core, std::move(target)));
    return absl::OkStatus();
  }

  // Waits for the right to write without holding a thread.
  void Claim() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      claiming_ = true;
    }
    context_.uploads.Acquire(
        session_->target().Key(),
        {.end = Ender(), .granted = [self = weak_from_this()](auto lease) {
           if (const auto stream = self.lock()) {
             static_cast<UploadStream&>(*stream).OnGranted(std::move(lease));
           }
         }});
  }

  // Ends this stream, if it is still there.
  std::function<void(const Status&)> Ender() {
    return [self = weak_from_this()](const Status& status) {
      if (const auto stream = self.lock()) {
        stream->End(status);
      }
    };
  }

  void OnGranted(std::unique_ptr<UploadRegistry::Lease> lease) {
    const bool overtaken = lease == nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      claiming_ = false;
      if (!finished()) {
        granted_ = std::move(lease);
      }
    }
    // A lease that comes too late is given back here.
    lease.reset();
    if (overtaken) {
      End(Aborted("another stream of yours has taken this upload over"));
    }
    Schedule();
  }

  std::optional<Status> Granted(std::unique_ptr<UploadRegistry::Lease> lease) {
    const Status begun = session_->Begin(std::move(lease));
    if (!begun.ok() || session_->complete()) {
      return begun;
    }
    const grpc::ByteBuffer buffer = std::exchange(first_, {});
    const StatusOr<rpc::WriteMessage> message = rpc::ParseWriteMessage(buffer);
    return message.ok() ? Append(*message) : Stop(message.status());
  }

  std::optional<Status> Append(const rpc::WriteMessage& message) {
    const Core& core = context_.core;
    // Revocation acts on streams that run, too.
    if (const uint64_t now = core.database.changes(); now != seen_changes_) {
      seen_changes_ = now;
      if (const Status allowed = CheckStillAllowed(core, caller_);
          !allowed.ok()) {
        return Stop(allowed);
      }
    }
    if (message.write_offset != session_->offset()) {
      if (const Status committed = session_->Commit(); !committed.ok()) {
        return committed;
      }
      return OffsetMismatch(message.write_offset, session_->committed_size());
    }
    if (const Status status = session_->Append(message.data); !status.ok()) {
      return Stop(status);
    }
    if (message.finish_write) {
      return session_->Finish();
    }
    return std::nullopt;
  }

  void Conclude(const Status& status) override {
    if (session_) {
      v1::WriteResponse response;
      response.set_committed_size(session_->committed_size());
      response_ = ToBuffer(response);
    }
    session_.reset();
    std::unique_ptr<UploadRegistry::Lease> lease;
    std::shared_ptr<StreamRegistry::Place> place;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      lease = std::move(granted_);
      place = std::move(place_);
      queue_.clear();
    }
    lease.reset();
    place.reset();
    Finish(end_.Convert(status));
  }

  const ServiceContext& context_;
  StreamEnd end_;
  grpc::CallbackServerContext& call_;
  grpc::ByteBuffer& response_;
  grpc::ByteBuffer incoming_;  // of the read that runs

  // Used by one step at a time.
  Caller caller_;
  uint64_t seen_changes_ = 0;
  grpc::ByteBuffer first_;
  std::unique_ptr<UploadSession> session_;

  // Guarded by mutex_.
  std::deque<grpc::ByteBuffer> queue_;
  std::shared_ptr<StreamRegistry::Place> place_;
  std::unique_ptr<UploadRegistry::Lease> granted_;
  bool input_ended_ = false;
  bool paused_ = false;    // no read runs: the queue is full
  bool claiming_ = false;  // waits for the right to write
};

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* StartUpload(
    const ServiceContext& context, grpc::CallbackServerContext& call,
    grpc::ByteBuffer& response) {
  const auto stream = std::make_shared<UploadStream>(context, call, response);
  stream->Start();
  return stream.get();
}

}  // namespace tributary::coordinator
