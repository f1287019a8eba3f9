#include "tests/benchmarks/upload/bare_upload.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/random.h"
#include "common/rpc/blob_stream.h"
#include "coordinator/blob/directory_blob_store.h"

namespace tributary::benchmarks {
namespace {

using coordinator::BlobWriter;
using coordinator::DirectoryBlobStore;
using Buffer = std::vector<char>;

// As much as an upload stream holds: one in work, two waiting, one filling.
constexpr int kBuffers = 4;

class BufferQueue {
 public:
  void Put(Buffer buffer) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      buffers_.push_back(std::move(buffer));
    }
    filled_.notify_one();
  }
  Buffer Take() {
    std::unique_lock<std::mutex> lock(mutex_);
    filled_.wait(lock, [&] { return !buffers_.empty(); });
    Buffer buffer = std::move(buffers_.front());
    buffers_.pop_front();
    return buffer;
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<Buffer> buffers_;
};

void SendFile(Link& link, const FileDescriptor& file, uint64_t size) {
  Buffer piece(rpc::kMaxChunkBytes);
  for (uint64_t offset = 0; offset < size;) {
    const ssize_t got = pread(file.get(), piece.data(), piece.size(),
                              static_cast<off_t>(offset));
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t one =
          link.Send(piece.data() + sent, static_cast<size_t>(got - sent));
      if (one <= 0) {
        return;
      }
      sent += one;
    }
    if (got <= 0) {
      return;
    }
    offset += static_cast<uint64_t>(got);
  }
}

// Fills buffers and hands them on; an empty one says that there are no more.
void ReceiveAll(Link& link, uint64_t size, BufferQueue& free,
                BufferQueue& filled) {
  for (uint64_t left = size; left > 0;) {
    Buffer buffer = free.Take();
    buffer.resize(std::min<uint64_t>(left, rpc::kMaxChunkBytes));
    for (size_t got = 0; got < buffer.size();) {
      const ssize_t one =
          link.Receive(buffer.data() + got, buffer.size() - got);
      if (one <= 0) {
        filled.Put({});
        return;
      }
      got += static_cast<size_t>(one);
    }
    left -= buffer.size();
    filled.Put(std::move(buffer));
  }
  filled.Put({});
}

Status KeepAll(BlobWriter& writer, BufferQueue& filled, BufferQueue& free) {
  uint64_t synced = 0;
  Status status = absl::OkStatus();
  while (true) {
    Buffer buffer = filled.Take();
    if (buffer.empty()) {
      break;
    }
    status.Update(
        writer.Append(std::string_view(buffer.data(), buffer.size())));
    if (writer.offset() - synced >= rpc::kCommitIntervalBytes) {
      synced = writer.offset();
      status.Update(writer.Sync().status());
    }
    free.Put(std::move(buffer));
  }
  status.Update(writer.Commit());
  return status;
}

}  // namespace

StatusOr<double> BareUploadSeconds(Link::Kind kind,
                                   const std::filesystem::path& file,
                                   const manifest::BlobName& blob,
                                   const std::filesystem::path& folder) {
  ASSIGN_OR_RETURN(const FileDescriptor source, OpenFile(file, O_RDONLY));
  ASSIGN_OR_RETURN(const auto store,
                   DirectoryBlobStore::Create({.blobs = folder / "blobs",
                                               .uploads = folder / "uploads"}));
  ASSIGN_OR_RETURN(const auto writer,
                   store->BeginWrite(blob, RandomUuid(), {}));
  ASSIGN_OR_RETURN(const std::unique_ptr<Link> link, Link::Create(kind));
  BufferQueue free;
  BufferQueue filled;
  for (int i = 0; i < kBuffers; ++i) {
    free.Put(Buffer(rpc::kMaxChunkBytes));
  }
  const double start = SystemClock().MonotonicSeconds();
  std::thread sender([&] { SendFile(*link, source, blob.size); });
  std::thread receiver([&] { ReceiveAll(*link, blob.size, free, filled); });
  const Status status = KeepAll(*writer, filled, free);
  const double seconds = SystemClock().MonotonicSeconds() - start;
  receiver.join();
  sender.join();
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(store->Delete(blob));
  return seconds;
}

}  // namespace tributary::benchmarks
