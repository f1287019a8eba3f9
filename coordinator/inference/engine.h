#pragma once

#include <deque>
#include <list>
#include <memory>
#include <vector>

#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "common/tokenizer/tokenizer.h"
#include "coordinator/inference/completion.h"
#include "coordinator/inference/running_request.h"
#include "coordinator/inference/scored_rows.h"

namespace tributary::coordinator {

struct EngineOptions {
  // Most choices of requests that are continued together.
  int64_t max_sequences = 16;
  // Most positions that their keys and values may take.
  int64_t cache_tokens = 16384;
  // Most positions of a choice with its prompt; 0, or more than the model has:
  // the model's own.
  int64_t max_context = 0;
  // Most positions of one pass, unless a single prompt that is only scored is
  // longer.
  int64_t step_tokens = 512;
};

// What an engine is doing, and has done since it was made.
struct EngineCounts {
  int64_t running_sequences = 0;
  int64_t waiting_requests = 0;
  int64_t cache_tokens = 0;  // positions that are reserved
  int64_t steps = 0;
  int64_t step_tokens = 0;  // positions of all steps
  int64_t requests = 0;     // that ended
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

// Continues and scores prompts with continuous batching: every pass through the
// model takes the next position of each sequence that is being continued and,
// as far as there is room, positions of prompts. Prompts that are continued by
// at most one token need no cache and wait for none. Not thread-safe.
class Engine {
 public:
  // The model, tokenizer and listener outlive the engine. INVALID_ARGUMENT for
  // options that leave no room.
  static StatusOr<std::unique_ptr<Engine>> Create(
      const model::CausalLm& lm, const tokenizer::Tokenizer& tokenizer,
      const EngineOptions& options, AnswerListener& listener);

  // Most positions of a choice with its prompt.
  int64_t context() const { return context_; }

  // Queues a request; what is wrong with it is told to the listener.
  void Add(uint64_t id, CompletionRequest request);
  // Forgets a request, if it is still there.
  void Cancel(uint64_t id);
  bool busy() const { return !waiting_.empty() || !running_.empty(); }
  // One pass. Requests that it fails for are told so.
  void Step();

  EngineCounts counts() const;

 private:
  Engine(const model::CausalLm& lm, const tokenizer::Tokenizer& tokenizer,
         const EngineOptions& options, int64_t context,
         AnswerListener& listener);

  // One part of a pass: positions of a prompt, or the next one of a choice.
  struct Part {
    RunningRequest* request = nullptr;
    RunningRequest::Choice* choice = nullptr;  // null: the prompt
    int64_t length = 0;
    int64_t begin = 0;  // among the pass's positions
  };
  // A position whose logits are looked at.
  struct Row {
    const Part* part = nullptr;
    int64_t offset = 0;  // within the part
  };

  // Moves requests from waiting to running where there is room.
  void Admit();
  std::vector<Part> PlanStep();
  Status RunStep(std::vector<Part>& parts);
  at::Tensor RunParts(const std::vector<Part>& parts) const;
  std::vector<Row> RowsOf(const std::vector<Part>& parts) const;
  void TakeRow(const Row& row, const ScoredRows& scored, int64_t index);
  void EndPrompt(RunningRequest& request, const ScoredRows& scored,
                 int64_t index);
  // Handles the token that a choice goes on with.
  void TakeToken(RunningRequest& request, RunningRequest::Choice& choice,
                 const ScoredRows& scored, int64_t index);
  void EndChoice(RunningRequest& request, RunningRequest::Choice& choice,
                 const char* reason);
  void Send(RunningRequest& request, RunningRequest::Choice& choice,
            AnswerText::Amount amount);
  TokenScore Score(const ScoredRows& scored, int64_t index, int32_t id,
                   int top) const;
  // What stands for a token where tokens are listed.
  std::string TokenText(int32_t id) const;
  void Fail(const std::vector<Part>& parts, const Status& status);
  void RemoveFinished();

  const model::CausalLm& lm_;
  const tokenizer::Tokenizer& tokenizer_;
  const EngineOptions options_;
  const int64_t context_;
  AnswerListener& listener_;
  std::deque<std::unique_ptr<RunningRequest>> waiting_;
  std::list<std::unique_ptr<RunningRequest>> running_;
  EngineCounts counts_;
};

}  // namespace tributary::coordinator
