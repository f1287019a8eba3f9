#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/gateway/api_answer.h"
#include "coordinator/gateway/model_worker.h"

namespace tributary::coordinator {

// The worker's part in one request: all its prompts asked at once, what comes
// back checked and put in order. What is not finished is cancelled with the
// object. Not thread-safe, apart from the worker's own thread.
class ModelCall {
 public:
  // The worker outlives the call.
  ModelCall(ModelWorker& worker, const ApiRequest& request);
  ~ModelCall();
  ModelCall(const ModelCall&) = delete;
  ModelCall& operator=(const ModelCall&) = delete;

  // Asks. UNAVAILABLE while there is no worker.
  Status Start();

  // More of one choice.
  struct More {
    size_t choice = 0;  // of all prompts' choices, in order
    ApiChoice part;
  };
  // The next part; nothing when all choices are complete. DEADLINE_EXCEEDED
  // when nothing comes for `seconds`; otherwise the error of a prompt.
  StatusOr<std::optional<More>> Next(double seconds);

  size_t choices() const { return finished_.size(); }
  const TokenUsage& usage() const { return usage_; }

 private:
  struct Event {
    size_t prompt = 0;
    job::InferenceEvent event;
  };
  // What the worker's thread writes into; lives as long as either side.
  struct Inbox {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Event> events;  // guarded by mutex
  };

  // A part, or nothing for an event without one.
  StatusOr<std::optional<More>> Take(Event event);
  StatusOr<size_t> ChoiceOf(const Event& event, int32_t choice) const;

  ModelWorker& worker_;
  const std::vector<job::Completion> prompts_;
  const size_t per_prompt_;
  const std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  std::vector<uint64_t> ids_;   // by prompt
  std::vector<bool> ended_;     // by prompt
  std::vector<bool> finished_;  // by choice
  TokenUsage usage_;
};

}  // namespace tributary::coordinator
