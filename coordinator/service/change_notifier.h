#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// Tells streams that wait for a change, without a thread for each.
class ChangeNotifier {
 public:
  explicit ChangeNotifier(Database& database);
  ~ChangeNotifier();

  // `on_change` is called after every change until Unsubscribe; it must not
  // call back.
  uint64_t Subscribe(std::function<void()> on_change);
  void Unsubscribe(uint64_t id);

 private:
  void Loop();

  Database& database_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  // Guarded by mutex_.
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::function<void()>> subscribers_;
  std::thread thread_;
};

}  // namespace tributary::coordinator
