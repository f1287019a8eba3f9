#include "coordinator/service/upload_registry.h"

#include <utility>

namespace tributary::coordinator {

std::unique_ptr<UploadRegistry::Lease> UploadRegistry::Acquire(
    const std::string& key, std::function<void()> cancel) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) {
      break;
    }
    found->second.cancel();
    released_.wait(lock);
  }
  const uint64_t id = next_id_++;
  entries_[key] = {.id = id,
                   .cancel = std::move(cancel),
                   .last_byte_s = clock_.MonotonicSeconds()};
  return std::make_unique<Lease>(*this, key, id);
}

void UploadRegistry::CancelIdle() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const double now_s = clock_.MonotonicSeconds();
  for (auto& [key, entry] : entries_) {
    if (now_s - entry.last_byte_s > idle_s_) {
      entry.cancel();
    }
  }
}

void UploadRegistry::Release(const std::string& key, uint64_t id) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = entries_.find(key);
    if (found != entries_.end() && found->second.id == id) {
      entries_.erase(found);
    }
  }
  released_.notify_all();
}

void UploadRegistry::Touch(const std::string& key, uint64_t id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = entries_.find(key);
  if (found != entries_.end() && found->second.id == id) {
    found->second.last_byte_s = clock_.MonotonicSeconds();
  }
}

}  // namespace tributary::coordinator
