#include "tests/benchmarks/upload/plain_server.h"

#include <grpcpp/server_builder.h>

#include <csignal>
#include <deque>
#include <filesystem>
#include <optional>
#include <utility>

#include "common/base/files.h"
#include "common/base/random.h"
#include "common/rpc/blob_message.h"
#include "common/rpc/blob_stream.h"
#include "common/rpc/channel.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/service/stream_steps.h"
#include "tributary/v1/blob.grpc.pb.h"

namespace tributary::benchmarks {
namespace {

using coordinator::BlobName;
using coordinator::BlobStore;
using coordinator::WorkPool;

class PlainUpload final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                          public coordinator::StreamSteps {
 public:
  PlainUpload(WorkPool& pool, BlobStore& store, grpc::ByteBuffer& response)
      : StreamSteps(pool), store_(store), response_(response) {}

  void Start() {
    Keep();
    StartRead(&incoming_);
  }
  void OnReadDone(bool ok) override {
    bool more = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (ok) {
        queue_.push_back(std::move(incoming_));
        incoming_.Clear();
        paused_ = queue_.size() >= 2;
        more = !paused_;
      } else {
        ended_ = true;
      }
    }
    if (more) {
      StartRead(&incoming_);
    }
    Schedule();
  }
  void OnDone() override { Release(); }

 private:
  bool HasWork() const override { return !queue_.empty() || ended_; }

  std::optional<Status> Step() override {
    std::optional<grpc::ByteBuffer> buffer;
    bool resume = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!queue_.empty()) {
        buffer = std::move(queue_.front());
        queue_.pop_front();
        resume = std::exchange(paused_, false);
      }
    }
    if (resume) {
      StartRead(&incoming_);
    }
    return buffer ? Take(*buffer) : absl::CancelledError("cut");
  }

  std::optional<Status> Take(const grpc::ByteBuffer& buffer) {
    const auto message = rpc::ParseWriteMessage(buffer);
    if (!message.ok()) {
      return message.status();
    }
    if (!writer_) {
      const auto name = BlobName::Parse(message->resource_name);
      auto writer = store_.BeginWrite(*name, RandomUuid(), {});
      if (!writer.ok()) {
        return writer.status();
      }
      writer_ = *std::move(writer);
    }
    if (const Status status = writer_->Append(message->data); !status.ok()) {
      return status;
    }
    if (writer_->offset() - synced_ >= rpc::kCommitIntervalBytes) {
      synced_ = writer_->offset();
      writer_->Sync().status().IgnoreError();
    }
    return message->finish_write ? std::optional(writer_->Commit())
                                 : std::nullopt;
  }

  void Conclude(const Status& status) override {
    v1::WriteResponse response;
    response.set_committed_size(
        writer_ ? static_cast<int64_t>(writer_->offset()) : 0);
    const grpc::Slice slice(response.SerializeAsString());
    response_ = grpc::ByteBuffer(&slice, 1);
    writer_.reset();
    Finish(status.ok()
               ? grpc::Status::OK
               : grpc::Status(grpc::StatusCode::INTERNAL, status.ToString()));
  }

  BlobStore& store_;
  grpc::ByteBuffer& response_;
  grpc::ByteBuffer incoming_;
  std::unique_ptr<coordinator::BlobWriter> writer_;
  uint64_t synced_ = 0;
  std::deque<grpc::ByteBuffer> queue_;
  bool paused_ = false;
  bool ended_ = false;
};

class PlainService final : public v1::BlobService::WithRawCallbackMethod_Write<
                               v1::BlobService::Service> {
 public:
  PlainService(WorkPool& pool, BlobStore& store) : pool_(pool), store_(store) {}
  grpc::ServerReadReactor<grpc::ByteBuffer>* Write(
      grpc::CallbackServerContext*, grpc::ByteBuffer* response) override {
    const auto upload = std::make_shared<PlainUpload>(pool_, store_, *response);
    upload->Start();
    return upload.get();
  }
  grpc::Status QueryWriteStatus(grpc::ServerContext*,
                                const v1::QueryWriteStatusRequest*,
                                v1::QueryWriteStatusResponse*) override {
    return {grpc::StatusCode::NOT_FOUND, "nothing is recorded here"};
  }

 private:
  WorkPool& pool_;
  BlobStore& store_;
};

}  // namespace

int ServePlain(const std::string& folder) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const std::filesystem::path root(folder);
  auto store = coordinator::DirectoryBlobStore::Create(
      {.blobs = root / "blobs", .uploads = root / "uploads"});
  if (!store.ok()) {
    return 1;
  }
  WorkPool pool(2);
  PlainService service(pool, **store);
  grpc::ServerBuilder builder;
  rpc::ConfigureServer(builder);
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (!WriteFileAtomic(root / "address", "127.0.0.1:" + std::to_string(port))
           .ok()) {
    return 1;
  }
  int signal = 0;
  sigwait(&signals, &signal);
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}

}  // namespace tributary::benchmarks
