#include "coordinator/service/stream_registry.h"

#include <utility>
#include <vector>

#include "common/rpc/status_conversion.h"

namespace tributary::coordinator {

StatusOr<std::unique_ptr<StreamRegistry::Place>> StreamRegistry::Enter(
    const std::string& identity, StreamKind kind,
    std::function<void(const Status&)> end) {
  const std::lock_guard<std::mutex> lock(mutex_);
  int open = 0;
  for (const auto& [id, entry] : entries_) {
    open += entry.identity == identity && entry.kind == kind ? 1 : 0;
  }
  if (open >= limits_.per_identity) {
    return rpc::WithErrorInfo(
        ResourceExhausted("{} has {} streams of this kind open, at most {} are "
                          "allowed; end one first",
                          identity, open, limits_.per_identity),
        {.reason = rpc::kTooManyStreams});
  }
  const uint64_t id = next_id_++;
  entries_[id] = {.identity = identity,
                  .kind = kind,
                  .end = std::move(end),
                  .last_move_s = clock_.MonotonicSeconds()};
  return std::make_unique<Place>(*this, id);
}

void StreamRegistry::EndIdle() {
  const double now_s = clock_.MonotonicSeconds();
  EndWhere(
      [&](const Entry& entry) {
        return entry.kind != StreamKind::kWatch &&
               now_s - entry.last_move_s > limits_.idle_s;
      },
      DeadlineExceeded("no byte has moved on this stream for {} seconds; go on "
                       "from what is committed",
                       static_cast<int64_t>(limits_.idle_s)));
}

void StreamRegistry::EndStreamsOf(const std::string& identity,
                                  const Status& status) {
  EndWhere([&](const Entry& entry) { return entry.identity == identity; },
           status);
}

void StreamRegistry::EndAll(const Status& status) {
  EndWhere([](const Entry&) { return true; }, status);
}

void StreamRegistry::EndWhere(const std::function<bool(const Entry&)>& chosen,
                              const Status& status) {
  std::vector<std::function<void(const Status&)>> ends;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      if (chosen(entry)) {
        ends.push_back(entry.end);
      }
    }
  }
  for (const auto& end : ends) {
    end(status);
  }
}

std::array<int64_t, kStreamKinds> StreamRegistry::Counts() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::array<int64_t, kStreamKinds> counts = {};
  for (const auto& [id, entry] : entries_) {
    ++counts[static_cast<size_t>(entry.kind)];
  }
  return counts;
}

void StreamRegistry::Leave(uint64_t id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_.erase(id);
}

void StreamRegistry::Touch(uint64_t id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto found = entries_.find(id); found != entries_.end()) {
    found->second.last_move_s = clock_.MonotonicSeconds();
  }
}

}  // namespace tributary::coordinator
