#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/base/clock.h"
#include "common/base/status.h"

namespace tributary::coordinator {

enum class StreamKind { kUpload, kDownload, kWatch };
inline constexpr size_t kStreamKinds = 3;

// Every stream that is open: whose it is, when it last moved, how to end it.
class StreamRegistry {
 public:
  struct Limits {
    // Uploads and downloads without a byte for this long are ended.
    double idle_s = 600;
    // Open streams of one kind that one identity may have.
    int per_identity = 32;
  };
  StreamRegistry(const Clock& clock, const Limits& limits)
      : clock_(clock), limits_(limits) {}

  // A place among the open streams; given back with the object.
  class Place {
   public:
    Place(StreamRegistry& registry, uint64_t id)
        : registry_(registry), id_(id) {}
    ~Place() { registry_.Leave(id_); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    // Tells that bytes moved.
    void Touch() { registry_.Touch(id_); }

   private:
    StreamRegistry& registry_;
    const uint64_t id_;
  };

  // `end` ends the stream with a status, from another thread; it may be called
  // even a little after the place was given back.
  // RESOURCE_EXHAUSTED: the identity has too many streams of this kind.
  StatusOr<std::unique_ptr<Place>> Enter(
      const std::string& identity, StreamKind kind,
      std::function<void(const Status&)> end);

  // Ends uploads and downloads that do not move.
  void EndIdle();
  // Ends what one identity has open, as when it is revoked.
  void EndStreamsOf(const std::string& identity, const Status& status);
  void EndAll(const Status& status);

  // Open streams, by StreamKind.
  std::array<int64_t, kStreamKinds> Counts();

 private:
  struct Entry {
    std::string identity;
    StreamKind kind = StreamKind::kUpload;
    std::function<void(const Status&)> end;
    double last_move_s = 0;
  };

  void EndWhere(const std::function<bool(const Entry&)>& chosen,
                const Status& status);
  void Leave(uint64_t id);
  void Touch(uint64_t id);

  const Clock& clock_;
  const Limits limits_;
  std::mutex mutex_;
  // Guarded by mutex_.
  uint64_t next_id_ = 1;
  std::map<uint64_t, Entry> entries_;
};

}  // namespace tributary::coordinator
