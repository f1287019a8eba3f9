#include "coordinator/gateway/gateway.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/random.h"

namespace tributary::coordinator {
namespace {

constexpr char kModels[] = "/v1/models";
// A streamed answer says at least so often that it lives, which is also how a
// client that is gone is noticed.
constexpr double kSignOfLifeSeconds = 5;
// Between looks whether the client is still there.
constexpr double kLookSeconds = 0.25;

ApiError NoSuchModel(const std::string& model) {
  return {.status = 404,
          .message = "the model '" + model + "' does not exist here",
          .param = "model",
          .code = "model_not_found"};
}

int64_t Now() { return static_cast<int64_t>(SystemClock().NowSeconds()); }

}  // namespace

// One request that is being answered: counted until it is destroyed.
class Gateway::Flight {
 public:
  Flight(Gateway& gateway, const char* endpoint)
      : gateway_(gateway), endpoint_(endpoint) {
    count_ = ++gateway_.in_flight_;
    gateway_.metrics_.SetInFlight(count_);
  }
  ~Flight() {
    gateway_.metrics_.CountRequest(endpoint_, status, Seconds());
    gateway_.metrics_.SetInFlight(--gateway_.in_flight_);
  }
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

  double Seconds() const { return SystemClock().MonotonicSeconds() - start_s_; }
  int64_t count() const { return count_; }
  int status = 499;  // as if the client had gone

 private:
  Gateway& gateway_;
  const char* const endpoint_;
  const double start_s_ = SystemClock().MonotonicSeconds();
  int64_t count_ = 0;
};

Gateway::Gateway(GatewayOptions options, ModelWorker& worker)
    : options_(std::move(options)), worker_(worker), start_s_(Now()) {}

HttpResponse Gateway::Handle(const HttpRequest& request) {
  const bool get = request.method == "GET";
  if (get && request.path == "/health") {
    return Health();
  }
  if (get && request.path == "/metrics") {
    return {.type = "text/plain; version=0.0.4",
            .body = metrics_.Text(worker_.facts())};
  }
  if (get && request.path.starts_with(kModels)) {
    return Models(request.path);
  }
  if (request.path == "/v1/completions" ||
      request.path == "/v1/chat/completions") {
    if (get) {
      return ErrorResponse({.status = 405, .message = "wanted POST"});
    }
    return Complete(request.path == "/v1/completions" ? ApiKind::kCompletion
                                                      : ApiKind::kChat,
                    request);
  }
  return ErrorResponse(
      {.status = 404,
       .message = "there is no " + request.method + " " + request.path,
       .code = "unknown_url"});
}

HttpResponse Gateway::Health() const {
  const ModelWorker::Facts facts = worker_.facts();
  const bool good = facts.ready && !draining_;
  const Json body = {
      {"status", good ? "ok" : (draining_ ? "draining" : "loading")},
      {"worker_restarts", facts.restarts}};
  return {.status = good ? 200 : 503, .body = ToText(body)};
}

HttpResponse Gateway::Models(const std::string& path) const {
  const ModelWorker::Facts facts = worker_.facts();
  const Json model = {{"id", options_.model},
                      {"object", "model"},
                      {"created", start_s_},
                      {"owned_by", "tributary"},
                      {"max_model_len", facts.model.context()}};
  if (path == kModels) {
    return {.body =
                ToText({{"object", "list"}, {"data", Json::array({model})}})};
  }
  const std::string name = path.substr(sizeof(kModels));
  return path[sizeof(kModels) - 1] == '/' && name == options_.model
             ? HttpResponse{.body = ToText(model)}
             : ErrorResponse(NoSuchModel(name));
}

HttpResponse Gateway::Complete(ApiKind kind, const HttpRequest& request) {
  auto flight = std::make_shared<Flight>(
      *this, kind == ApiKind::kChat ? "chat" : "completions");
  const auto refuse = [&](const ApiError& error) {
    flight->status = error.status;
    return ErrorResponse(error);
  };
  if (draining_) {
    return refuse({.status = 503, .message = "this server is shutting down"});
  }
  if (flight->count() > options_.max_requests) {
    return refuse({.status = 429,
                   .message = fmt::format("{} requests are being answered "
                                          "already; try again",
                                          options_.max_requests),
                   .code = "too_many_requests"});
  }
  std::variant<ApiRequest, ApiError> parsed =
      ParseApiRequest(kind, request.body, options_.limits);
  if (const auto* error = std::get_if<ApiError>(&parsed)) {
    return refuse(*error);
  }
  ApiRequest& api = std::get<ApiRequest>(parsed);
  if (!api.model.empty() && api.model != options_.model) {
    return refuse(NoSuchModel(api.model));
  }
  if (const std::string refusal = worker_.facts().model.chat_refusal();
      kind == ApiKind::kChat && !refusal.empty()) {
    return refuse({.status = 400,
                   .message = "this model does not chat: " + refusal,
                   .code = "no_chat_template"});
  }
  return api.stream ? AnswerInParts(std::move(api), request, std::move(flight))
                    : AnswerWhole(api, request, std::move(flight));
}

StatusOr<std::optional<ModelCall::More>> Gateway::Wait(
    ModelCall& call, const HttpRequest& http) const {
  const Clock& clock = SystemClock();
  const double end_s = clock.MonotonicSeconds() + options_.timeout_s;
  while (true) {
    if (http.client_gone()) {
      return Cancelled("the client has gone");
    }
    const double left_s = end_s - clock.MonotonicSeconds();
    StatusOr<std::optional<ModelCall::More>> more =
        call.Next(std::min(kLookSeconds, left_s));
    if (!absl::IsDeadlineExceeded(more.status()) || left_s <= kLookSeconds) {
      return more;
    }
  }
}

HttpResponse Gateway::AnswerWhole(const ApiRequest& request,
                                  const HttpRequest& http,
                                  std::shared_ptr<Flight> flight) {
  const auto refuse = [&](const Status& status) {
    const ApiError error = FromStatus(status);
    flight->status = error.status;
    return ErrorResponse(error);
  };
  ModelCall call(worker_, request);
  if (const Status started = call.Start(); !started.ok()) {
    return refuse(started);
  }
  std::vector<ApiChoice> choices(call.choices());
  while (true) {
    StatusOr<std::optional<ModelCall::More>> more = Wait(call, http);
    if (!more.ok()) {
      return refuse(more.status());
    }
    if (!more->has_value()) {
      break;
    }
    ApiChoice& part = (*more)->part;
    ApiChoice& choice = choices[(*more)->choice];
    choice.text += part.text;
    std::move(part.tokens.begin(), part.tokens.end(),
              std::back_inserter(choice.tokens));
    if (!part.finish_reason.empty()) {
      choice.finish_reason = part.finish_reason;
    }
  }
  flight->status = 200;
  metrics_.CountTokens(call.usage().prompt_tokens,
                       call.usage().completion_tokens);
  const AnswerHead head = {.id = "cmpl-" + RandomUuid(),
                           .created_s = Now(),
                           .model = options_.model};
  return {.body = ToText(WholeAnswer(request, head, choices, call.usage()))};
}

// What a streamed answer keeps between its parts.
struct Gateway::Streamed {
  Streamed(ModelWorker& worker, ApiRequest wanted,
           std::shared_ptr<Flight> counted)
      : request(std::move(wanted)),
        flight(std::move(counted)),
        call(worker, request),
        begun(call.choices(), false) {}

  const ApiRequest request;
  const std::shared_ptr<Flight> flight;
  ModelCall call;
  AnswerHead head;
  std::optional<ModelCall::More> first;  // until it is sent
  std::vector<bool> begun;               // by choice
  double silent_s = 0;
};

HttpResponse Gateway::AnswerInParts(ApiRequest request, const HttpRequest& http,
                                    std::shared_ptr<Flight> flight) {
  auto streamed = std::make_shared<Streamed>(worker_, std::move(request),
                                             std::move(flight));
  streamed->head = {
      .id = (streamed->request.kind == ApiKind::kChat ? "chatcmpl-" : "cmpl-") +
            RandomUuid(),
      .created_s = Now(),
      .model = options_.model};
  // What is wrong with the request shows before its first part: then there is
  // still a status line to say so.
  Status status = streamed->call.Start();
  if (status.ok()) {
    StatusOr<std::optional<ModelCall::More>> first = Wait(streamed->call, http);
    status = first.status();
    if (first.ok()) {
      streamed->first = *std::move(first);
      metrics_.CountFirstToken(streamed->flight->Seconds());
    }
  }
  if (!status.ok()) {
    const ApiError error = FromStatus(status);
    streamed->flight->status = error.status;
    return ErrorResponse(error);
  }
  HttpResponse response{.type = "text/event-stream"};
  response.headers.emplace_back("Cache-Control", "no-cache");
  response.next_piece = [this, streamed](std::string* piece) {
    Streamed& s = *streamed;
    const auto event = [](const Json& value) {
      return "data: " + ToText(value) + "\n\n";
    };
    StatusOr<std::optional<ModelCall::More>> more =
        s.first ? std::exchange(s.first, std::nullopt)
                : s.call.Next(kSignOfLifeSeconds);
    if (absl::IsDeadlineExceeded(more.status()) &&
        (s.silent_s += kSignOfLifeSeconds) < options_.timeout_s) {
      *piece = ": working\n\n";
      return true;
    }
    if (!more.ok()) {
      // The status line is gone; the stream ends without [DONE].
      const ApiError error = FromStatus(more.status());
      s.flight->status = error.status;
      *piece = event(ErrorJson(error));
      return false;
    }
    s.silent_s = 0;
    if (more->has_value()) {
      const size_t choice = (*more)->choice;
      *piece = event(AnswerPart(s.request, s.head, choice, (*more)->part,
                                !s.begun[choice]));
      s.begun[choice] = true;
      return true;
    }
    if (s.request.stream_usage) {
      *piece = event(UsagePart(s.request, s.head, s.call.usage()));
    }
    *piece += "data: [DONE]\n\n";
    s.flight->status = 200;
    metrics_.CountTokens(s.call.usage().prompt_tokens,
                         s.call.usage().completion_tokens);
    return false;
  };
  return response;
}

}  // namespace tributary::coordinator
