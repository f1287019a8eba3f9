#include "tests/coordinator/blob/memory_blob_store.h"

#include <algorithm>
#include <utility>

#include "common/base/files.h"
#include "common/crypto/digest.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

class MemoryBlobReader final : public BlobReader {
 public:
  explicit MemoryBlobReader(std::shared_ptr<const std::string> bytes)
      : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_->size(); }
  StatusOr<size_t> Read(uint64_t offset, std::span<char> out) override {
    if (offset >= bytes_->size()) {
      return size_t{0};
    }
    return bytes_->copy(out.data(), out.size(), offset);
  }

 private:
  const std::shared_ptr<const std::string> bytes_;
};

}  // namespace

class MemoryBlobWriter final : public BlobWriter {
 public:
  using State = MemoryBlobStore::State;
  MemoryBlobWriter(std::shared_ptr<State> state, BlobName name, std::string id)
      : state_(std::move(state)), name_(std::move(name)), id_(std::move(id)) {}

  uint64_t offset() const override {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    return state_->partials[id_].bytes.size();
  }
  Status Append(std::span<const std::string_view> pieces) override {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    std::string& bytes = state_->partials[id_].bytes;
    for (const std::string_view piece : pieces) {
      if (bytes.size() + piece.size() > name_.size) {
        return OutOfRange("{}: more bytes than that", name_.ToString());
      }
      bytes += piece;
    }
    return absl::OkStatus();
  }
  StatusOr<uint64_t> Sync() override {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    MemoryBlobStore::Partial& partial = state_->partials[id_];
    partial.durable = partial.bytes.size();
    return partial.durable;
  }
  std::string HashState() const override { return ""; }
  Status Commit() override {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    std::string& bytes = state_->partials[id_].bytes;
    if (bytes.size() < name_.size) {
      return FailedPrecondition("{}: has {} bytes", name_.ToString(),
                                bytes.size());
    }
    const std::string digest = crypto::Sha256Hex(bytes);
    if (digest == name_.sha256) {
      state_->blobs[name_] =
          std::make_shared<const std::string>(std::move(bytes));
    }
    state_->partials.erase(id_);
    return digest == name_.sha256
               ? absl::OkStatus()
               : InvalidArgument("{}: the bytes have digest {}",
                                 name_.ToString(), digest);
  }

 private:
  const std::shared_ptr<State> state_;
  const BlobName name_;
  const std::string id_;
};

void MemoryBlobStore::Restart() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  for (auto& [id, partial] : state_->partials) {
    partial.bytes.resize(partial.durable);
  }
}

StatusOr<bool> MemoryBlobStore::Contains(const BlobName& name) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->blobs.contains(name);
}

StatusOr<std::unique_ptr<BlobReader>> MemoryBlobStore::OpenReader(
    const BlobName& name) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  const auto found = state_->blobs.find(name);
  if (found == state_->blobs.end()) {
    return NotFound("{}: no such blob", name.ToString());
  }
  return std::unique_ptr<BlobReader>(
      std::make_unique<MemoryBlobReader>(found->second));
}

StatusOr<std::unique_ptr<BlobWriter>> MemoryBlobStore::BeginWrite(
    const BlobName& name, const std::string& upload_id,
    const WritePosition& position) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  Partial& partial = state_->partials[upload_id];
  if (partial.bytes.size() < position.size) {
    return DataLoss("{}: has {} bytes, {} were recorded", upload_id,
                    partial.bytes.size(), position.size);
  }
  partial.bytes.resize(position.size);
  partial.durable = std::min(partial.durable, partial.bytes.size());
  return std::unique_ptr<BlobWriter>(
      std::make_unique<MemoryBlobWriter>(state_, name, upload_id));
}

Status MemoryBlobStore::DiscardWrite(const std::string& upload_id) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->partials.erase(upload_id);
  return absl::OkStatus();
}

StatusOr<std::vector<std::string>> MemoryBlobStore::ListWrites() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  std::vector<std::string> ids;
  for (const auto& [id, partial] : state_->partials) {
    ids.push_back(id);
  }
  return ids;
}

StatusOr<BlobName> MemoryBlobStore::Import(const fs::path& file) {
  ASSIGN_OR_RETURN(std::string bytes, ReadFile(file));
  const BlobName name{crypto::Sha256Hex(bytes), bytes.size()};
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->blobs[name] = std::make_shared<const std::string>(std::move(bytes));
  return name;
}

Status MemoryBlobStore::Materialise(const BlobName& name,
                                    const fs::path& target) {
  std::shared_ptr<const std::string> bytes;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    const auto found = state_->blobs.find(name);
    if (found == state_->blobs.end()) {
      return NotFound("{}: no such blob", name.ToString());
    }
    bytes = found->second;
  }
  RETURN_IF_ERROR(MakeDirectories(target.parent_path()));
  return WriteFileAtomic(target, *bytes, 0444);
}

Status MemoryBlobStore::Delete(const BlobName& name) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->blobs.erase(name);
  return absl::OkStatus();
}

StatusOr<std::vector<BlobName>> MemoryBlobStore::List() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  std::vector<BlobName> names;
  for (const auto& [name, bytes] : state_->blobs) {
    names.push_back(name);
  }
  return names;
}

StatusOr<uint64_t> MemoryBlobStore::FreeBytes() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  uint64_t used = 0;
  for (const auto& [name, bytes] : state_->blobs) {
    used += bytes->size();
  }
  return state_->capacity_bytes - std::min(used, state_->capacity_bytes);
}

}  // namespace tributary::coordinator
