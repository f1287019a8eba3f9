#include "coordinator/inference/engine.h"

#include <algorithm>
#include <set>

#include "common/model/errors.h"
#include "common/model/packed.h"
#include "coordinator/inference/request_limits.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

// Rows of logits that are in memory at a time.
constexpr int64_t kLogitRows = 256;

}  // namespace

Engine::Engine(const model::CausalLm& lm, const tokenizer::Tokenizer& tokenizer,
               const EngineOptions& options, int64_t context,
               AnswerListener& listener)
    : lm_(lm),
      tokenizer_(tokenizer),
      options_(options),
      context_(context),
      listener_(listener) {}

StatusOr<std::unique_ptr<Engine>> Engine::Create(
    const model::CausalLm& lm, const tokenizer::Tokenizer& tokenizer,
    const EngineOptions& options, AnswerListener& listener) {
  if (options.max_sequences < 1 || options.cache_tokens < 2 ||
      options.max_context < 0 || options.step_tokens <= options.max_sequences) {
    return InvalidArgument(
        "engine: got {} sequences, {} cached tokens, a context of {} and {} "
        "tokens a step, wanted at least 1, at least 2, not below 0, and more "
        "tokens a step than sequences",
        options.max_sequences, options.cache_tokens, options.max_context,
        options.step_tokens);
  }
  int64_t context = lm.config.max_position_embeddings;
  if (options.max_context > 0) {
    context = std::min(context, options.max_context);
  }
  return std::unique_ptr<Engine>(
      new Engine(lm, tokenizer, options, context, listener));
}

void Engine::Add(uint64_t id, CompletionRequest request) {
  const StatusOr<int64_t> max_tokens =
      TokensToMake(request, {.vocab_size = lm_.config.vocab_size,
                             .context = context_,
                             .max_choices = options_.max_sequences,
                             .cache_tokens = options_.cache_tokens});
  if (!max_tokens.ok()) {
    ++counts_.requests;
    listener_.OnError(id, max_tokens.status());
    return;
  }
  auto running =
      std::make_unique<RunningRequest>(id, std::move(request), *max_tokens);
  counts_.prompt_tokens += running->prompt_size();
  for (RunningRequest::Choice& choice : running->choices) {
    if (running->scores_prompt()) {
      const int32_t first = running->request.prompt[0];
      choice.text.AddPrompt({.id = first, .text = TokenText(first)});
    } else if (running->request.echo) {
      for (const int32_t token : running->request.prompt) {
        choice.text.AddPrompt(TokenText(token));
      }
    }
  }
  waiting_.push_back(std::move(running));
}

void Engine::Cancel(uint64_t id) {
  const auto is_it = [id](const std::unique_ptr<RunningRequest>& request) {
    return request->id == id;
  };
  std::erase_if(waiting_, is_it);
  std::erase_if(running_, is_it);
}

EngineCounts Engine::counts() const {
  EngineCounts counts = counts_;
  counts.waiting_requests = static_cast<int64_t>(waiting_.size());
  for (const auto& request : running_) {
    counts.running_sequences += std::count_if(
        request->choices.begin(), request->choices.end(),
        [](const RunningRequest::Choice& choice) { return !choice.done; });
    counts.cache_tokens += request->reserved();
  }
  return counts;
}

void Engine::Admit() {
  int64_t sequences = 0;
  int64_t reserved = 0;
  for (const auto& request : running_) {
    sequences += request->sequences();
    reserved += request->reserved();
  }
  bool full = false;
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    RunningRequest& request = **next;
    if (request.cached()) {
      // In order: a large request is not overtaken by smaller ones.
      full = full || sequences + request.sequences() > options_.max_sequences ||
             reserved + request.reserved() > options_.cache_tokens;
      if (full) {
        ++next;
        continue;
      }
      sequences += request.sequences();
      reserved += request.reserved();
      request.choices[0].cache =
          std::make_unique<model::KvCache>(model::KvCache::Create(
              lm_, 1, request.prompt_size() + request.max_tokens));
    }
    running_.push_back(std::move(*next));
    next = waiting_.erase(next);
  }
}

std::vector<Engine::Part> Engine::PlanStep() {
  std::vector<Part> parts;
  int64_t total = 0;
  for (const auto& request : running_) {
    for (RunningRequest::Choice& choice : request->choices) {
      if (request->prompt_done() && !choice.done) {
        parts.push_back(
            {.request = request.get(), .choice = &choice, .length = 1});
        ++total;
      }
    }
  }
  // Prompts leave half of a step's room alone while answers wait for it.
  int64_t room = options_.step_tokens / (parts.empty() ? 1 : 2);
  bool first = true;
  for (const auto& request : running_) {
    const int64_t rest = request->prompt_size() - request->prefilled;
    if (rest == 0 || room <= 0) {
      continue;
    }
    const int64_t length = request->cached() ? std::min(rest, room) : rest;
    if (length > room && !first) {
      continue;
    }
    parts.push_back({.request = request.get(), .length = length});
    room -= length;
    total += length;
    first = false;
  }
  int64_t begin = 0;
  for (Part& part : parts) {
    part.begin = begin;
    begin += part.length;
  }
  counts_.step_tokens += total;
  return parts;
}

Tensor Engine::RunParts(const std::vector<Part>& parts) const {
  std::vector<int64_t> ids;
  std::vector<model::Segment> segments;
  for (const Part& part : parts) {
    RunningRequest& request = *part.request;
    if (part.choice != nullptr) {
      ids.push_back(part.choice->last);
      segments.push_back({.length = 1, .cache = part.choice->cache.get()});
      continue;
    }
    const auto from = request.request.prompt.begin() +
                      static_cast<std::ptrdiff_t>(request.prefilled);
    ids.insert(ids.end(), from,
               from + static_cast<std::ptrdiff_t>(part.length));
    segments.push_back(
        {.length = part.length, .cache = request.choices[0].cache.get()});
  }
  return model::RunPacked(lm_, at::tensor(at::IntArrayRef(ids), at::kLong),
                          segments);
}

std::vector<Engine::Row> Engine::RowsOf(const std::vector<Part>& parts) const {
  std::vector<Row> rows;
  for (const Part& part : parts) {
    const RunningRequest& request = *part.request;
    const bool last = part.choice != nullptr ||
                      request.prefilled + part.length == request.prompt_size();
    const bool all = part.choice == nullptr && request.scores_prompt();
    for (int64_t i = all ? 0 : part.length - 1; i < part.length; ++i) {
      if (all || last) {
        rows.push_back({.part = &part, .offset = i});
      }
    }
  }
  return rows;
}

void Engine::Step() {
  Admit();
  std::vector<Part> parts = PlanStep();
  if (parts.empty()) {
    return;
  }
  ++counts_.steps;
  const Status status =
      model::CatchTorch([&]() -> Status { return RunStep(parts); });
  if (!status.ok()) {
    Fail(parts, status);
    return;
  }
  RemoveFinished();
}

Status Engine::RunStep(std::vector<Part>& parts) {
  const at::NoGradGuard no_gradients;
  const Tensor x_TD = RunParts(parts).squeeze(0);
  const std::vector<Row> rows = RowsOf(parts);
  const auto count = static_cast<int64_t>(rows.size());
  for (int64_t begin = 0; begin < count; begin += kLogitRows) {
    const int64_t end = std::min(count, begin + kLogitRows);
    std::vector<int64_t> positions;
    int64_t top = -1;
    for (int64_t r = begin; r < end; ++r) {
      const Row& row = rows[static_cast<size_t>(r)];
      positions.push_back(row.part->begin + row.offset);
      top = std::max<int64_t>(top,
                              row.part->request->request.logprobs.value_or(-1));
    }
    const Tensor chosen = x_TD.index_select(
        0, at::tensor(at::IntArrayRef(positions), at::kLong).to(lm_.device()));
    const ScoredRows scored(model::Logits(lm_, model::FinalNorm(lm_, chosen)),
                            top);
    for (int64_t r = begin; r < end; ++r) {
      TakeRow(rows[static_cast<size_t>(r)], scored, r - begin);
    }
  }
  for (const Part& part : parts) {
    if (part.choice == nullptr) {
      part.request->prefilled += part.length;
    }
  }
  return absl::OkStatus();
}

void Engine::TakeRow(const Row& row, const ScoredRows& scored, int64_t index) {
  RunningRequest& request = *row.part->request;
  if (row.part->choice != nullptr) {
    TakeToken(request, *row.part->choice, scored, index);
    return;
  }
  const int64_t next = request.prefilled + row.offset + 1;
  if (next == request.prompt_size()) {
    EndPrompt(request, scored, index);
    return;
  }
  const TokenScore score =
      Score(scored, index, request.request.prompt[static_cast<size_t>(next)],
            *request.request.logprobs);
  for (RunningRequest::Choice& choice : request.choices) {
    choice.text.AddPrompt(score);
  }
}

void Engine::EndPrompt(RunningRequest& request, const ScoredRows& scored,
                       int64_t index) {
  model::KvCache* const prompt = request.choices[0].cache.get();
  for (RunningRequest::Choice& choice : request.choices) {
    if (prompt != nullptr && choice.index > 0) {
      choice.cache = std::make_unique<model::KvCache>(
          model::KvCache::Create(lm_, 1, prompt->capacity));
      choice.cache->length = prompt->length;
      for (size_t l = 0; l < prompt->keys.size(); ++l) {
        const auto copy = [&](const Tensor& from, const Tensor& to) {
          to.narrow(2, 0, prompt->length)
              .copy_(from.narrow(2, 0, prompt->length));
        };
        copy(prompt->keys[l], choice.cache->keys[l]);
        copy(prompt->values[l], choice.cache->values[l]);
      }
    }
    if (request.max_tokens == 0) {
      EndChoice(request, choice, "length");
    } else {
      TakeToken(request, choice, scored, index);
    }
  }
}

void Engine::TakeToken(RunningRequest& request, RunningRequest::Choice& choice,
                       const ScoredRows& scored, int64_t index) {
  const int32_t id = choice.sampler.Choose(scored.logits(index));
  TokenScore score;
  TokenScore* listed = nullptr;
  if (request.request.logprobs) {
    score = Score(scored, index, id, *request.request.logprobs);
    listed = &score;
  }
  ++choice.made;
  ++request.usage.completion_tokens;
  ++counts_.completion_tokens;
  const auto& ends = lm_.config.eos_token_ids;
  const bool ended = std::find(ends.begin(), ends.end(), id) != ends.end();
  std::string bytes;
  if (!ended && !tokenizer_.IsSpecial(id)) {
    bytes = tokenizer_.TokenBytes(id).value_or("");
  }
  const bool stopped = choice.text.Add(bytes, listed);
  if (ended || stopped) {
    EndChoice(request, choice, "stop");
  } else if (choice.made == request.max_tokens) {
    EndChoice(request, choice, "length");
  } else {
    choice.last = id;
    Send(request, choice, AnswerText::Amount::kSafe);
  }
}

void Engine::EndChoice(RunningRequest& request, RunningRequest::Choice& choice,
                       const char* reason) {
  Send(request, choice, AnswerText::Amount::kAll);
  choice.done = true;
  // The prompt's cache is copied from before its own choice ends.
  if (request.prompt_done()) {
    choice.cache.reset();
  }
  listener_.OnChoiceEnd(request.id, choice.index, reason);
}

void Engine::Send(RunningRequest& request, RunningRequest::Choice& choice,
                  AnswerText::Amount amount) {
  AnswerPiece piece = choice.text.Take(amount);
  if (!piece.empty()) {
    listener_.OnPiece(request.id, choice.index, std::move(piece));
  }
}

TokenScore Engine::Score(const ScoredRows& scored, int64_t index, int32_t id,
                         int top) const {
  TokenScore score{.id = id,
                   .text = TokenText(id),
                   .logprob = scored.LogProbability(index, id)};
  bool listed = false;
  for (const auto& [other, logprob] : scored.Top(index, top)) {
    score.top.push_back(
        {.id = other, .text = TokenText(other), .logprob = logprob});
    listed = listed || other == id;
  }
  if (!listed) {
    score.top.push_back(
        {.id = id, .text = score.text, .logprob = *score.logprob});
  }
  return score;
}

std::string Engine::TokenText(int32_t id) const {
  return tokenizer_.IsSpecial(id) ? tokenizer_.IdToToken(id).value_or("")
                                  : tokenizer_.TokenBytes(id).value_or("");
}

void Engine::Fail(const std::vector<Part>& parts, const Status& status) {
  std::set<uint64_t> failed;
  for (const Part& part : parts) {
    failed.insert(part.request->id);
  }
  for (const uint64_t id : failed) {
    Cancel(id);
    ++counts_.requests;
    listener_.OnError(id, status);
  }
}

void Engine::RemoveFinished() {
  std::erase_if(running_, [this](const auto& request) {
    if (!request->finished()) {
      return false;
    }
    ++counts_.requests;
    listener_.OnEnd(request->id, request->usage);
    return true;
  });
}

}  // namespace tributary::coordinator
