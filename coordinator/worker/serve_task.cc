#include "coordinator/worker/serve_task.h"

#include <unistd.h>

#include <memory>

#include "common/base/clock.h"
#include "common/jobs/frame_pipe.h"
#include "common/model/load_release.h"
#include "common/tokenizer/tokenizer.h"
#include "common/worker/model_tasks.h"
#include "coordinator/inference/chat_template.h"
#include "coordinator/inference/engine.h"
#include "coordinator/worker/request_queue.h"

namespace tributary::coordinator {
namespace {

using tokenizer::EncodeOptions;
using tokenizer::Tokenizer;
using worker::TaskContext;

constexpr double kStateIntervalSeconds = 0.5;

// Writes what the engine says as frames.
class FrameListener : public AnswerListener {
 public:
  explicit FrameListener(int fd) : writer_(fd) {}

  void OnPiece(uint64_t request, int choice, AnswerPiece piece) override {
    job::InferenceEvent event;
    event.set_id(request);
    job::Piece& out = *event.mutable_piece();
    out.set_choice(choice);
    out.set_text(piece.text);
    for (const TokenScore& token : piece.tokens) {
      job::TokenScore& score = *out.add_tokens();
      score.set_id(token.id);
      score.set_text(token.text);
      if (token.logprob) {
        score.set_logprob(*token.logprob);
      }
      for (const RankedToken& ranked : token.top) {
        job::RankedToken& other = *score.add_top();
        other.set_id(ranked.id);
        other.set_text(ranked.text);
        other.set_logprob(ranked.logprob);
      }
      score.set_text_offset(token.text_offset);
    }
    Send(event);
  }
  void OnChoiceEnd(uint64_t request, int choice,
                   const std::string& reason) override {
    job::InferenceEvent event;
    event.set_id(request);
    event.mutable_choice_end()->set_choice(choice);
    event.mutable_choice_end()->set_finish_reason(reason);
    Send(event);
  }
  void OnEnd(uint64_t request, const Usage& usage) override {
    job::InferenceEvent event;
    event.set_id(request);
    event.mutable_completion_end()->set_prompt_tokens(usage.prompt_tokens);
    event.mutable_completion_end()->set_completion_tokens(
        usage.completion_tokens);
    Send(event);
  }
  void OnError(uint64_t request, const Status& status) override {
    job::InferenceEvent event;
    event.set_id(request);
    event.mutable_error()->set_code(static_cast<int>(status.code()));
    event.mutable_error()->set_message(std::string(status.message()));
    Send(event);
  }

  void Send(const job::InferenceEvent& event) {
    if (status_.ok()) {
      status_ = writer_.Write(event.SerializeAsString());
    }
  }
  // The first failure to write.
  const Status& status() const { return status_; }

 private:
  jobs::FrameWriter writer_;
  Status status_;
};

class ServeLoop {
 public:
  ServeLoop(const TaskContext& context, const Tokenizer& tokenizer,
            const StatusOr<ChatTemplate>& chat, Engine& engine,
            FrameListener& listener)
      : context_(context),
        tokenizer_(tokenizer),
        chat_(chat),
        engine_(engine),
        listener_(listener),
        queue_(STDIN_FILENO) {}

  Status Run() {
    while (true) {
      RETURN_IF_ERROR(context_.cancellation.Check());
      RETURN_IF_ERROR(listener_.status());
      for (job::InferenceRequest& request :
           queue_.Take(engine_.busy() ? RequestQueue::Mode::kPoll
                                      : RequestQueue::Mode::kWait)) {
        Handle(request);
      }
      if (engine_.busy()) {
        engine_.Step();
      } else if (queue_.AtEnd()) {
        return queue_.status();
      }
      ReportState();
    }
  }

 private:
  void Handle(job::InferenceRequest& request) {
    switch (request.kind_case()) {
      case job::InferenceRequest::kCompletion: {
        StatusOr<CompletionRequest> plain = Plain(request.completion());
        if (plain.ok()) {
          engine_.Add(request.id(), *std::move(plain));
        } else {
          listener_.OnError(request.id(), plain.status());
        }
        return;
      }
      case job::InferenceRequest::kCancel:
        engine_.Cancel(request.id());
        return;
      case job::InferenceRequest::KIND_NOT_SET:
        listener_.OnError(request.id(),
                          Unimplemented("a request of an unknown kind"));
    }
  }

  StatusOr<std::vector<int32_t>> Prompt(const job::Completion& message) const {
    switch (message.prompt_case()) {
      case job::Completion::kText:
        return tokenizer_.Encode(
            message.text(),
            {.special_tokens = EncodeOptions::Template::kApply});
      case job::Completion::kTokenIds:
        return std::vector<int32_t>(message.token_ids().ids().begin(),
                                    message.token_ids().ids().end());
      case job::Completion::kConversation: {
        RETURN_IF_ERROR(chat_.status());
        std::vector<ChatMessage> messages;
        for (const auto& part : message.conversation().messages()) {
          messages.push_back({part.role(), part.content()});
        }
        ASSIGN_OR_RETURN(const std::string text, chat_->Render(messages));
        return tokenizer_.Encode(text);
      }
      case job::Completion::PROMPT_NOT_SET:
        break;
    }
    return InvalidArgument("prompt: there is none");
  }

  StatusOr<CompletionRequest> Plain(const job::Completion& message) const {
    CompletionRequest plain;
    ASSIGN_OR_RETURN(plain.prompt, Prompt(message));
    if (message.has_max_tokens()) {
      plain.max_tokens = message.max_tokens();
    }
    plain.shorten = message.shorten();
    plain.temperature = message.temperature();
    plain.top_p = message.top_p() == 0 ? 1 : message.top_p();
    plain.seed = message.seed();
    plain.choices = message.choices();
    plain.stop.assign(message.stop().begin(), message.stop().end());
    plain.echo = message.echo();
    if (message.has_logprobs()) {
      plain.logprobs = message.logprobs();
    }
    return plain;
  }

  // While something runs, now and then; once more when nothing does.
  void ReportState() {
    const double now = SystemClock().MonotonicSeconds();
    const bool busy = engine_.busy();
    if (busy == reported_busy_ &&
        (!busy || now - reported_s_ < kStateIntervalSeconds)) {
      return;
    }
    reported_busy_ = busy;
    reported_s_ = now;
    const EngineCounts counts = engine_.counts();
    job::InferenceEvent event;
    job::EngineState& state = *event.mutable_state();
    state.set_running_sequences(counts.running_sequences);
    state.set_waiting_requests(counts.waiting_requests);
    state.set_cache_tokens(counts.cache_tokens);
    state.set_steps(counts.steps);
    state.set_step_tokens(counts.step_tokens);
    listener_.Send(event);
  }

  const TaskContext& context_;
  const Tokenizer& tokenizer_;
  const StatusOr<ChatTemplate>& chat_;
  Engine& engine_;
  FrameListener& listener_;
  RequestQueue queue_;
  bool reported_busy_ = false;
  double reported_s_ = 0;
};

Status Serve(const job::Task& task, const TaskContext& context,
             job::TaskResult* result) {
  const job::ModelServe& request = task.model_serve();
  const auto files = model::ModelFilesDirectory(request.model().directory());
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::Load(files / "tokenizer.json"));
  const StatusOr<ChatTemplate> chat = ChatTemplate::Load(files);
  ASSIGN_OR_RETURN(const model::CausalLm lm,
                   worker::LoadModel(request.model(), context));
  EngineOptions options;
  const auto set = [](auto value, int64_t* target) {
    if (value != 0) {
      *target = value;
    }
  };
  set(request.max_sequences(), &options.max_sequences);
  set(request.cache_tokens(), &options.cache_tokens);
  set(request.max_context(), &options.max_context);
  set(request.step_tokens(), &options.step_tokens);
  FrameListener listener(STDOUT_FILENO);
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   Engine::Create(lm, *tokenizer, options, listener));
  job::InferenceEvent ready;
  ready.mutable_ready()->set_context(engine->context());
  ready.mutable_ready()->set_vocab_size(lm.config.vocab_size);
  ready.mutable_ready()->set_chat_refusal(std::string(chat.status().message()));
  listener.Send(ready);
  context.Report(1.0, "serving");
  RETURN_IF_ERROR(
      ServeLoop(context, *tokenizer, chat, *engine, listener).Run());
  const EngineCounts counts = engine->counts();
  auto* served = result->mutable_model_serve();
  served->set_requests(counts.requests);
  served->set_prompt_tokens(counts.prompt_tokens);
  served->set_completion_tokens(counts.completion_tokens);
  served->set_steps(counts.steps);
  return absl::OkStatus();
}

}  // namespace

void AddServeTask(worker::TaskRegistry& registry) {
  registry[job::Task::kModelServe] = Serve;
}

}  // namespace tributary::coordinator
