#include "contributor/client/raw_stream.h"

#include "common/rpc/status_conversion.h"
#include "contributor/client/call_guard.h"

namespace tributary::contributor {

// Hidden, because it holds a thread's worth of headers.
class RawStream::Guard : public CallGuard {
 public:
  using CallGuard::CallGuard;
};

RawStream::RawStream(const std::shared_ptr<grpc::Channel>& channel,
                     const std::string& method,
                     const CancellationToken* cancellation)
    : cancellation_(cancellation), stub_(channel) {
  call_ = stub_.PrepareCall(&context_, method, &queue_);
  guard_ = std::make_unique<Guard>(context_, cancellation);
  call_->StartCall(this);
  Wait();
}

RawStream::~RawStream() {
  if (!finished_) {
    context_.TryCancel();
    Finish().IgnoreError();
  }
  guard_.reset();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

// One operation runs at a time, so the next event is its own.
bool RawStream::Wait() {
  void* tag = nullptr;
  bool ok = false;
  return queue_.Next(&tag, &ok) && ok;
}

void RawStream::StartWrite(const grpc::ByteBuffer& message) {
  call_->Write(message, this);
}

bool RawStream::FinishWrite() { return Wait(); }

void RawStream::WritesDone() {
  call_->WritesDone(this);
  Wait();
}

bool RawStream::Read(grpc::ByteBuffer& message) {
  call_->Read(&message, this);
  return Wait();
}

Status RawStream::Finish() {
  grpc::Status status;
  call_->Finish(&status, this);
  Wait();
  finished_ = true;
  Status result = rpc::FromGrpcStatus(status);
  const bool own = cancellation_ != nullptr && cancellation_->IsCancelled();
  if (absl::IsCancelled(result) && !own) {
    return Unavailable("the coordinator ended the stream: {}",
                       std::string(result.message()));
  }
  return result;
}

}  // namespace tributary::contributor
