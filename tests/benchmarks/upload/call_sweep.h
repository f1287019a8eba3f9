#pragma once

#include <nlohmann/json.hpp>

#include "common/base/status.h"

namespace tributary::benchmarks {

// Calls over mutual TLS to coordinators whose caller owns 100, 1,000 and 10,000
// contributions, in turn: a page of 50, one contribution, a withdrawal.
//   {"list": {"100": {"p50_s", "p99_s"}, "1000": ..., "10000": ...}, ...}
StatusOr<nlohmann::json> CallSweep(int samples);

}  // namespace tributary::benchmarks
