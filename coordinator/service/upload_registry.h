#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/base/clock.h"

namespace tributary::coordinator {

// Which upload streams are open: one per upload. A newer stream ends the older
// one and waits until it has let go of the partial file.
class UploadRegistry {
 public:
  // `idle_s`: streams without a byte for this long are ended.
  UploadRegistry(const Clock& clock, double idle_s)
      : clock_(clock), idle_s_(idle_s) {}

  // The right to write one upload; given back with the object.
  class Lease {
   public:
    Lease(UploadRegistry& registry, std::string key, uint64_t id)
        : registry_(registry), key_(std::move(key)), id_(id) {}
    ~Lease() { registry_.Release(key_, id_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    // Tells that a byte arrived.
    void Touch() { registry_.Touch(key_, id_); }

   private:
    UploadRegistry& registry_;
    const std::string key_;
    const uint64_t id_;
  };

  // `cancel` ends the stream from another thread and may be called until the
  // lease is gone.
  std::unique_ptr<Lease> Acquire(const std::string& key,
                                 std::function<void()> cancel);

  // Ends idle streams.
  void CancelIdle();

 private:
  struct Entry {
    uint64_t id = 0;
    std::function<void()> cancel;
    double last_byte_s = 0;
  };

  void Release(const std::string& key, uint64_t id);
  void Touch(const std::string& key, uint64_t id);

  const Clock& clock_;
  const double idle_s_;
  std::mutex mutex_;
  std::condition_variable released_;
  // Guarded by mutex_.
  uint64_t next_id_ = 1;
  std::map<std::string, Entry> entries_;
};

}  // namespace tributary::coordinator
