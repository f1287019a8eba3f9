// A serving worker without a model: it answers a prompt with its own words, one
// a token. Some prompts make it misbehave.

#include <unistd.h>

#include <sstream>

#include "common/jobs/frame_pipe.h"
#include "common/worker/worker_main.h"
#include "tributary/job/inference.pb.h"

namespace tributary::worker {
namespace {

class FakeModel {
 public:
  Status Run() {
    job::InferenceEvent ready;
    ready.mutable_ready()->set_context(100);
    RETURN_IF_ERROR(Send(ready));
    jobs::FrameReader reader(STDIN_FILENO);
    while (true) {
      ASSIGN_OR_RETURN(const auto frame, reader.Next());
      if (!frame) {
        return absl::OkStatus();
      }
      job::InferenceRequest request;
      request.ParseFromString(*frame);
      if (request.has_completion()) {
        RETURN_IF_ERROR(Answer(request.id(), request.completion()));
      } else if (request.has_cancel()) {
        ++cancelled_;
      }
    }
  }

 private:
  Status Send(const job::InferenceEvent& event) {
    return writer_.Write(event.SerializeAsString());
  }

  Status Answer(uint64_t id, const job::Completion& completion) {
    const std::string prompt =
        completion.has_conversation()
            ? completion.conversation().messages(0).content()
            : completion.text();
    job::InferenceEvent event;
    event.set_id(id);
    if (prompt == "crash") {
      _exit(9);
    }
    if (prompt == "hang") {
      return absl::OkStatus();
    }
    if (prompt == "cancelled?") {
      event.mutable_piece()->set_text(std::to_string(cancelled_));
      RETURN_IF_ERROR(Send(event));
      event.mutable_choice_end()->set_finish_reason("stop");
      RETURN_IF_ERROR(Send(event));
      event.mutable_completion_end()->set_prompt_tokens(1);
      return Send(event);
    }
    if (prompt == "refuse" || prompt == "full") {
      event.mutable_error()->set_code(static_cast<int>(
          prompt == "full" ? absl::StatusCode::kResourceExhausted
                           : absl::StatusCode::kInvalidArgument));
      event.mutable_error()->set_message("said no to " + prompt);
      return Send(event);
    }
    int made = 0;
    for (int choice = 0; choice < completion.choices(); ++choice) {
      std::istringstream words(prompt);
      std::string word;
      while (words >> word) {
        event.mutable_piece()->set_choice(prompt == "lie" ? 77 : choice);
        event.mutable_piece()->set_text(word + " ");
        event.mutable_piece()->clear_tokens();
        if (completion.has_logprobs()) {
          auto& token = *event.mutable_piece()->add_tokens();
          token.set_text(word + "\xff");
          token.set_logprob(-0.5f);
          auto& top = *token.add_top();
          top.set_text(word);
          top.set_logprob(-0.25f);
        }
        RETURN_IF_ERROR(Send(event));
        ++made;
      }
      event.mutable_choice_end()->set_choice(choice);
      event.mutable_choice_end()->set_finish_reason("stop");
      RETURN_IF_ERROR(Send(event));
    }
    event.mutable_completion_end()->set_prompt_tokens(3);
    event.mutable_completion_end()->set_completion_tokens(made);
    return Send(event);
  }

  jobs::FrameWriter writer_{STDOUT_FILENO};
  int cancelled_ = 0;
};

Status Serve(const job::Task& task, const TaskContext&, job::TaskResult*) {
  if (task.model_serve().model().directory() == "broken") {
    return InvalidArgument("this model is broken");
  }
  return FakeModel().Run();
}

}  // namespace
}  // namespace tributary::worker

int main(int argc, char** argv) {
  return tributary::worker::WorkerMain(
      argc, argv,
      {{tributary::job::Task::kModelServe, tributary::worker::Serve}});
}
