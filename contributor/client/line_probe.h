#pragma once

#include <cstdint>
#include <functional>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "tributary/v1/preflight.pb.h"

namespace tributary::contributor {

// Sends and asks for so many bytes of padding; tests answer themselves.
using ProbeCall = std::function<StatusOr<v1::ProbeResponse>(
    int64_t request_bytes, int64_t response_bytes)>;

// What a line to the coordinator can do.
struct LineRates {
  double round_trip_s = 0;
  double up_bytes_per_s = 0;
  double down_bytes_per_s = 0;
  // The coordinator's clock minus this one.
  double clock_ahead_s = 0;
};

// Measures a line with at most 16 MiB and about two seconds each way, one call
// after another. On a fast line it stays below what several streams reach.
StatusOr<LineRates> MeasureLine(const ProbeCall& probe, const Clock& clock);

}  // namespace tributary::contributor
