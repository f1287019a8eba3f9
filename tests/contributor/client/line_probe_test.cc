#include "contributor/client/line_probe.h"

#include <gtest/gtest.h>

namespace tributary::contributor {
namespace {

// A line of known rates on a clock that only it moves.
class FakeLine final : public Clock {
 public:
  double NowSeconds() const override { return 1000 + seconds_; }
  double MonotonicSeconds() const override { return seconds_; }

  StatusOr<v1::ProbeResponse> Probe(int64_t up, int64_t down) {
    bytes += up + down;
    EXPECT_LE(up, 1 << 20);
    EXPECT_LE(down, 1 << 20);
    seconds_ +=
        0.05 + static_cast<double>(up) / 2e6 + static_cast<double>(down) / 8e6;
    v1::ProbeResponse response;
    response.set_time_ms(static_cast<int64_t>((NowSeconds() + 7) * 1000));
    return response;
  }

  int64_t bytes = 0;

 private:
  double seconds_ = 0;
};

TEST(LineProbeTest, FindsTheRatesOfALine) {
  FakeLine line;
  const auto rates = MeasureLine(
      [&](int64_t up, int64_t down) { return line.Probe(up, down); }, line);
  ASSERT_TRUE(rates.ok()) << rates.status();
  EXPECT_NEAR(rates->round_trip_s, 0.05, 1e-6);
  EXPECT_NEAR(rates->up_bytes_per_s, 2e6, 2e4);
  EXPECT_NEAR(rates->down_bytes_per_s, 8e6, 8e4);
  EXPECT_NEAR(rates->clock_ahead_s, 7, 0.1);
  EXPECT_LE(line.bytes, 2 * (16 << 20));
}

TEST(LineProbeTest, AFailureIsTheCaller) {
  FakeLine line;
  const auto rates = MeasureLine(
      [](int64_t, int64_t) -> StatusOr<v1::ProbeResponse> {
        return Unavailable("away");
      },
      line);
  EXPECT_TRUE(absl::IsUnavailable(rates.status()));
}

}  // namespace
}  // namespace tributary::contributor
