#include "coordinator/gateway/model_call.h"

#include <algorithm>
#include <chrono>

namespace tributary::coordinator {

ModelCall::ModelCall(ModelWorker& worker, const ApiRequest& request)
    : worker_(worker),
      prompts_(request.prompts),
      per_prompt_(static_cast<size_t>(request.choices)),
      ended_(request.prompts.size(), false),
      finished_(request.prompts.size() * per_prompt_, false) {}

ModelCall::~ModelCall() {
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (!ended_[i]) {
      worker_.Cancel(ids_[i]);
    }
  }
}

Status ModelCall::Start() {
  for (size_t i = 0; i < prompts_.size(); ++i) {
    ASSIGN_OR_RETURN(
        const uint64_t id,
        worker_.Submit(prompts_[i],
                       [inbox = inbox_, i](const job::InferenceEvent& event) {
                         const std::lock_guard lock(inbox->mutex);
                         inbox->events.push_back({i, event});
                         inbox->changed.notify_one();
                       }));
    ids_.push_back(id);
  }
  return absl::OkStatus();
}

StatusOr<std::optional<ModelCall::More>> ModelCall::Next(double seconds) {
  while (std::find(ended_.begin(), ended_.end(), false) != ended_.end()) {
    std::unique_lock lock(inbox_->mutex);
    if (!inbox_->changed.wait_for(lock, std::chrono::duration<double>(seconds),
                                  [this] { return !inbox_->events.empty(); })) {
      return DeadlineExceeded("the model has not answered in time");
    }
    Event event = std::move(inbox_->events.front());
    inbox_->events.pop_front();
    lock.unlock();
    ASSIGN_OR_RETURN(std::optional<More> more, Take(std::move(event)));
    if (more) {
      return more;
    }
  }
  if (std::find(finished_.begin(), finished_.end(), false) != finished_.end()) {
    return Internal("the serving worker left a choice without an end");
  }
  return std::nullopt;
}

StatusOr<size_t> ModelCall::ChoiceOf(const Event& event, int32_t choice) const {
  if (choice < 0 || static_cast<size_t>(choice) >= per_prompt_) {
    return Internal("the serving worker spoke of choice {} of {}", choice,
                    per_prompt_);
  }
  return event.prompt * per_prompt_ + static_cast<size_t>(choice);
}

StatusOr<std::optional<ModelCall::More>> ModelCall::Take(Event event) {
  job::InferenceEvent& said = event.event;
  switch (said.kind_case()) {
    case job::InferenceEvent::kPiece: {
      ASSIGN_OR_RETURN(const size_t choice,
                       ChoiceOf(event, said.piece().choice()));
      More more{.choice = choice};
      more.part.text = std::move(*said.mutable_piece()->mutable_text());
      for (job::TokenScore& token : *said.mutable_piece()->mutable_tokens()) {
        more.part.tokens.push_back(std::move(token));
      }
      return more;
    }
    case job::InferenceEvent::kChoiceEnd: {
      ASSIGN_OR_RETURN(const size_t choice,
                       ChoiceOf(event, said.choice_end().choice()));
      finished_[choice] = true;
      const bool stop = said.choice_end().finish_reason() == "stop";
      return More{.choice = choice,
                  .part = {.finish_reason = stop ? "stop" : "length"}};
    }
    case job::InferenceEvent::kCompletionEnd:
      ended_[event.prompt] = true;
      usage_.prompt_tokens += said.completion_end().prompt_tokens();
      usage_.completion_tokens += said.completion_end().completion_tokens();
      return std::nullopt;
    case job::InferenceEvent::kError: {
      ended_[event.prompt] = true;
      const auto code = static_cast<absl::StatusCode>(said.error().code());
      return Status(
          code == absl::StatusCode::kOk ? absl::StatusCode::kInternal : code,
          said.error().message());
    }
    default:
      return Internal("the serving worker said what nobody asked for");
  }
}

}  // namespace tributary::coordinator
