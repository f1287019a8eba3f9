#pragma once

// One streaming call over raw buffers, so that bytes of blobs are not copied
// into protobuf messages. Blocking, for one thread.

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <string>

#include "common/base/cancellation.h"
#include "common/base/status.h"

namespace tributary::contributor {

class RawStream {
 public:
  // Starts `method` ("/tributary.v1.BlobService/Write"). The call is cancelled
  // with `cancellation` (may be null).
  RawStream(const std::shared_ptr<grpc::Channel>& channel,
            const std::string& method, const CancellationToken* cancellation);
  // Cancels what has not ended.
  ~RawStream();
  RawStream(const RawStream&) = delete;
  RawStream& operator=(const RawStream&) = delete;

  // Begins to send a message; FinishWrite waits until gRPC has taken it. The
  // time between them is the caller's. False: the call has ended.
  void StartWrite(const grpc::ByteBuffer& message);
  bool FinishWrite();
  void WritesDone();
  // The next message. False: there is none.
  bool Read(grpc::ByteBuffer& message);
  // The call's status; once. A call that the server cancelled is UNAVAILABLE:
  // trying again may help.
  Status Finish();

 private:
  class Guard;
  bool Wait();

  const CancellationToken* const cancellation_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  std::unique_ptr<Guard> guard_;
  bool finished_ = false;
};

}  // namespace tributary::contributor
