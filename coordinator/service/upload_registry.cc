#include "coordinator/service/upload_registry.h"

#include <utility>

namespace tributary::coordinator {

void UploadRegistry::Acquire(const std::string& key, Claim claim) {
  std::function<void(const Status&)> end;
  std::function<void(std::unique_ptr<Lease>)> overtaken;
  std::unique_ptr<Lease> lease;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t id = next_id_++;
    const auto found = entries_.find(key);
    if (found == entries_.end()) {
      entries_[key] = {.holder = id, .end = claim.end};
      lease = std::make_unique<Lease>(*this, key, id);
    } else {
      overtaken = std::move(found->second.waiting.granted);
      end = found->second.end;
      found->second.next = id;
      found->second.waiting = claim;
    }
  }
  if (overtaken) {
    overtaken(nullptr);
  }
  if (end) {
    end(Aborted("another stream of yours has taken this upload over"));
  }
  if (lease) {
    claim.granted(std::move(lease));
  }
}

void UploadRegistry::Release(const std::string& key, uint64_t id) {
  std::function<void(std::unique_ptr<Lease>)> granted;
  std::unique_ptr<Lease> lease;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end() || found->second.holder != id) {
      return;
    }
    Entry& entry = found->second;
    if (!entry.waiting.granted) {
      entries_.erase(found);
      return;
    }
    granted = std::move(entry.waiting.granted);
    lease = std::make_unique<Lease>(*this, key, entry.next);
    entry = {.holder = entry.next, .end = std::move(entry.waiting.end)};
  }
  granted(std::move(lease));
}

}  // namespace tributary::coordinator
