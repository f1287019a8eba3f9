#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "common/base/status.h"
#include "coordinator/service/work_pool.h"

namespace tributary::coordinator {

// The part that all streams share: work is done in steps on the work pool, one
// at a time for each stream, and a stream can be ended from any thread.
class StreamSteps : public std::enable_shared_from_this<StreamSteps> {
 public:
  virtual ~StreamSteps() = default;

  // Ends the stream with `status` after the step that runs. Any thread; the
  // first status counts.
  void End(const Status& status);

 protected:
  explicit StreamSteps(WorkPool& pool) : pool_(pool) {}

  // Keeps the object alive until Release. Both take mutex_, so that what the
  // thread that made the stream wrote comes before what others do with it
  // without a word about how gRPC hands it on.
  void Keep();
  void Release();

  // Runs a step soon if there is work and none runs.
  void Schedule();

  // Whether a step could do something now; called with mutex_ held.
  virtual bool HasWork() const = 0;
  // One piece of work. A status ends the stream; nothing: there will be more.
  virtual std::optional<Status> Step() = 0;
  // What to keep of a stream that is ended; returns the status to end with.
  virtual Status Stop(const Status& status) { return status; }
  // Sends the status. Called once, as the last thing.
  virtual void Conclude(const Status& status) = 0;
  // Called by End, for what has to be shaken.
  virtual void OnEnd() {}

  bool ending() const { return end_status_.has_value(); }
  bool finished() const { return finished_; }

  std::mutex mutex_;

 private:
  void Work();

  WorkPool& pool_;
  std::shared_ptr<StreamSteps> self_;
  // Guarded by mutex_.
  std::optional<Status> end_status_;
  bool working_ = false;
  bool finished_ = false;
};

}  // namespace tributary::coordinator
