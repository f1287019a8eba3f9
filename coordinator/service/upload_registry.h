#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/base/status.h"

namespace tributary::coordinator {

// Who writes which upload: one stream each. A newer stream ends the older one
// and gets the upload once that has let go of the partial file.
class UploadRegistry {
 public:
  // The right to write one upload; given back with the object.
  class Lease {
   public:
    Lease(UploadRegistry& registry, std::string key, uint64_t id)
        : registry_(registry), key_(std::move(key)), id_(id) {}
    ~Lease() { registry_.Release(key_, id_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

   private:
    UploadRegistry& registry_;
    const std::string key_;
    const uint64_t id_;
  };

  // A stream that wants an upload. Both functions are called on any thread and
  // must not call back into the registry.
  struct Claim {
    // Ends the stream: a newer one wants the upload. Called until the lease is
    // given back.
    std::function<void(const Status&)> end;
    // Hands over the upload, or says (null) that a newer claim came first.
    std::function<void(std::unique_ptr<Lease>)> granted;
  };

  // `claim.granted` is called once, now or later.
  void Acquire(const std::string& key, Claim claim);

 private:
  struct Entry {
    uint64_t holder = 0;
    std::function<void(const Status&)> end;
    // The newest claim that waits; empty functions when none does.
    uint64_t next = 0;
    Claim waiting;
  };

  void Release(const std::string& key, uint64_t id);

  std::mutex mutex_;
  // Guarded by mutex_.
  uint64_t next_id_ = 1;
  std::map<std::string, Entry> entries_;
};

}  // namespace tributary::coordinator
