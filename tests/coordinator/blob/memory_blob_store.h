#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "coordinator/blob/blob_store.h"

namespace tributary::coordinator {

// A second implementation of the interface: what callers may rely on is what
// both do. Bytes that were not synced are gone after Restart, as after a crash.
class MemoryBlobStore final : public BlobStore {
 public:
  explicit MemoryBlobStore(uint64_t capacity_bytes = 1ull << 40)
      : state_(std::make_shared<State>()) {
    state_->capacity_bytes = capacity_bytes;
  }

  // Forgets what was not made durable.
  void Restart();

  StatusOr<bool> Contains(const BlobName& name) override;
  StatusOr<std::unique_ptr<BlobReader>> OpenReader(
      const BlobName& name) override;
  StatusOr<std::unique_ptr<BlobWriter>> BeginWrite(
      const BlobName& name, const std::string& upload_id,
      const WritePosition& position) override;
  Status DiscardWrite(const std::string& upload_id) override;
  StatusOr<std::vector<std::string>> ListWrites() override;
  StatusOr<BlobName> Import(const std::filesystem::path& file) override;
  Status Materialise(const BlobName& name,
                     const std::filesystem::path& target) override;
  Status Delete(const BlobName& name) override;
  StatusOr<std::vector<BlobName>> List() override;
  StatusOr<uint64_t> FreeBytes() override;

 private:
  friend class MemoryBlobWriter;
  struct Partial {
    std::string bytes;
    size_t durable = 0;
  };
  struct State {
    std::mutex mutex;
    uint64_t capacity_bytes = 0;
    std::map<BlobName, std::shared_ptr<const std::string>> blobs;
    std::map<std::string, Partial> partials;
  };
  std::shared_ptr<State> state_;
};

}  // namespace tributary::coordinator
