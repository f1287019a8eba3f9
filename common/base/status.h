#pragma once

// Errors of every API of ours are absl::Status. A message says what was got,
// what was wanted and what to do.

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fmt/format.h"

#define TRIBUTARY_CONCAT_INNER(a, b) a##b
#define TRIBUTARY_CONCAT(a, b) TRIBUTARY_CONCAT_INNER(a, b)

// Returns the status of `expression` from this function when it is an error.
#define RETURN_IF_ERROR(expression)                           \
  do {                                                        \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                         \
    }                                                         \
  } while (false)

// Assigns the value of a StatusOr to `target`, or returns its error.
#define ASSIGN_OR_RETURN(target, expression)                             \
  ASSIGN_OR_RETURN_INNER(TRIBUTARY_CONCAT(status_or_, __LINE__), target, \
                         expression)
#define ASSIGN_OR_RETURN_INNER(temporary, target, expression) \
  auto temporary = (expression);                              \
  if (!temporary.ok()) {                                      \
    return temporary.status();                                \
  }                                                           \
  target = *std::move(temporary)

namespace tributary {

using absl::Status;
using absl::StatusOr;

// Builds an error of the named code from a format string.
#define TRIBUTARY_DEFINE_ERROR(Name)                                \
  template <typename... Args>                                       \
  Status Name(fmt::format_string<Args...> format, Args&&... args) { \
    return absl::Name##Error(                                       \
        fmt::format(format, std::forward<Args>(args)...));          \
  }
TRIBUTARY_DEFINE_ERROR(Aborted)
TRIBUTARY_DEFINE_ERROR(AlreadyExists)
TRIBUTARY_DEFINE_ERROR(Cancelled)
TRIBUTARY_DEFINE_ERROR(DataLoss)
TRIBUTARY_DEFINE_ERROR(DeadlineExceeded)
TRIBUTARY_DEFINE_ERROR(FailedPrecondition)
TRIBUTARY_DEFINE_ERROR(Internal)
TRIBUTARY_DEFINE_ERROR(InvalidArgument)
TRIBUTARY_DEFINE_ERROR(NotFound)
TRIBUTARY_DEFINE_ERROR(OutOfRange)
TRIBUTARY_DEFINE_ERROR(PermissionDenied)
TRIBUTARY_DEFINE_ERROR(ResourceExhausted)
TRIBUTARY_DEFINE_ERROR(Unauthenticated)
TRIBUTARY_DEFINE_ERROR(Unavailable)
TRIBUTARY_DEFINE_ERROR(Unimplemented)
#undef TRIBUTARY_DEFINE_ERROR

// The same error with `context` in front of its message: "context: message".
inline Status Annotate(const Status& status, const std::string& context) {
  if (status.ok()) {
    return status;
  }
  return Status(status.code(), context + ": " + std::string(status.message()));
}

}  // namespace tributary
