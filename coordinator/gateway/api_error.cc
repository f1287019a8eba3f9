#include "coordinator/gateway/api_error.h"

#include <nlohmann/json.hpp>

namespace tributary::coordinator {
namespace {

const char* TypeOf(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

}  // namespace

Json ErrorJson(const ApiError& error) {
  Json body = {{"message", error.message},
               {"type", TypeOf(error.status)},
               {"param", nullptr},
               {"code", nullptr}};
  if (!error.param.empty()) {
    body["param"] = error.param;
  }
  if (!error.code.empty()) {
    body["code"] = error.code;
  }
  return {{"error", body}};
}

HttpResponse ErrorResponse(const ApiError& error) {
  HttpResponse response{.status = error.status,
                        .body = ToText(ErrorJson(error))};
  if (error.status == 429 || error.status == 503) {
    response.headers.emplace_back("Retry-After", "1");
  }
  return response;
}

ApiError FromStatus(const Status& status) {
  ApiError error{.status = 500, .message = std::string(status.message())};
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
      error.status = 400;
      break;
    case absl::StatusCode::kUnavailable:
      error.status = 503;
      break;
    case absl::StatusCode::kResourceExhausted:
      error.status = 429;
      break;
    case absl::StatusCode::kDeadlineExceeded:
      error.status = 504;
      break;
    case absl::StatusCode::kCancelled:
      error.status = 499;  // nobody reads it; for the metrics
      break;
    default:
      break;
  }
  return error;
}

std::string ToText(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tributary::coordinator
