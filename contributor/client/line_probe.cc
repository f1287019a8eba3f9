#include "contributor/client/line_probe.h"

#include <algorithm>
#include <cmath>

namespace tributary::contributor {
namespace {

constexpr int kRoundTrips = 4;
constexpr int64_t kSmallest = 32 << 10;
constexpr int64_t kLargest = 1 << 20;
constexpr int64_t kMostBytes = 16 << 20;
constexpr double kLongestSeconds = 2.0;
// Shorter than any clock can tell.
constexpr double kShortestSeconds = 1e-6;

enum class Way { kUp, kDown };

// Bytes per second beyond the time that an empty call takes.
StatusOr<double> Rate(const ProbeCall& probe, const Clock& clock, Way way,
                      double round_trip_s) {
  double seconds = 0;
  int64_t bytes = 0;
  for (int64_t size = kSmallest;
       seconds < kLongestSeconds && bytes + size <= kMostBytes;
       size = std::min(2 * size, kLargest)) {
    const double begin = clock.MonotonicSeconds();
    RETURN_IF_ERROR(
        probe(way == Way::kUp ? size : 0, way == Way::kDown ? size : 0)
            .status());
    seconds += std::max(clock.MonotonicSeconds() - begin - round_trip_s,
                        kShortestSeconds);
    bytes += size;
  }
  return static_cast<double>(bytes) / seconds;
}

}  // namespace

StatusOr<LineRates> MeasureLine(const ProbeCall& probe, const Clock& clock) {
  LineRates rates;
  rates.round_trip_s = INFINITY;
  // The first call connects; the shortest of the others counts.
  for (int i = 0; i < kRoundTrips; ++i) {
    const double begin = clock.MonotonicSeconds();
    ASSIGN_OR_RETURN(const v1::ProbeResponse answer, probe(0, 0));
    const double seconds = clock.MonotonicSeconds() - begin;
    if (i > 0 && seconds < rates.round_trip_s) {
      rates.round_trip_s = seconds;
      rates.clock_ahead_s = static_cast<double>(answer.time_ms()) / 1000 +
                            seconds / 2 - clock.NowSeconds();
    }
  }
  ASSIGN_OR_RETURN(rates.up_bytes_per_s,
                   Rate(probe, clock, Way::kUp, rates.round_trip_s));
  ASSIGN_OR_RETURN(rates.down_bytes_per_s,
                   Rate(probe, clock, Way::kDown, rates.round_trip_s));
  return rates;
}

}  // namespace tributary::contributor
