#include "coordinator/service/change_notifier.h"

#include <chrono>
#include <utility>

namespace tributary::coordinator {
namespace {

constexpr std::chrono::milliseconds kWait(200);

}  // namespace

ChangeNotifier::ChangeNotifier(Database& database)
    : database_(database), thread_([this] { Loop(); }) {}

ChangeNotifier::~ChangeNotifier() {
  stopping_.store(true);
  thread_.join();
}

uint64_t ChangeNotifier::Subscribe(std::function<void()> on_change) {
  const std::lock_guard<std::mutex> lock(mutex_);
  subscribers_[next_id_] = std::move(on_change);
  return next_id_++;
}

void ChangeNotifier::Unsubscribe(uint64_t id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  subscribers_.erase(id);
}

void ChangeNotifier::Loop() {
  uint64_t seen = database_.changes();
  while (!stopping_.load()) {
    const uint64_t now = database_.WaitForChange(seen, kWait);
    if (now == seen) {
      continue;
    }
    seen = now;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [id, on_change] : subscribers_) {
      on_change();
    }
  }
}

}  // namespace tributary::coordinator
