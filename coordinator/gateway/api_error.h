#pragma once

#include <string>

#include "common/base/json.h"
#include "common/base/status.h"
#include "coordinator/gateway/http_server.h"

namespace tributary::coordinator {

// An error as OpenAI's API tells it.
struct ApiError {
  int status = 400;
  std::string message;
  std::string param;  // empty: none
  std::string code;   // empty: none
};

// {"error": {"message", "type", "param", "code"}}; the type follows from the
// status.
Json ErrorJson(const ApiError& error);
// 429 and 503 tell when to try again.
HttpResponse ErrorResponse(const ApiError& error);
// For what an engine or its worker refuses.
ApiError FromStatus(const Status& status);

// JSON for an answer; text that is not UTF-8 is shown with U+FFFD.
std::string ToText(const Json& value);

}  // namespace tributary::coordinator
