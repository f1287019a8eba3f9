#pragma once

#include "common/base/status.h"

namespace tributary {

// Exit codes of every command. Scripts rely on them: they only grow.
enum class ExitCode : int {
  kOk = 0,
  kInternal = 1,            // a defect, or an error of no other kind
  kUsage = 2,               // the command line itself is wrong
  kInvalidInput = 3,        // a file, a configuration or a field is wrong
  kNotFound = 4,            // a named thing is not there
  kRefused = 5,             // not allowed: identity, policy, sandbox
  kFailedPrecondition = 6,  // right request, wrong state
  kUnavailable = 7,         // the other side cannot be reached; try again
  kResourceExhausted = 8,   // disk, quota or memory
  kRejected = 9,            // admission or a quality threshold said no
  kNewerSchema = 10,        // the home was written by a newer version
  kCancelled = 130,         // interrupted
};

// The same error, for which ExitCodeFor answers `code` instead of what its
// status code stands for. `status` must not be OK.
Status WithExitCode(Status status, ExitCode code);

// The exit code that stands for `status`.
ExitCode ExitCodeFor(const Status& status);

}  // namespace tributary
