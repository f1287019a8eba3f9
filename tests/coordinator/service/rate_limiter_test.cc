#include "coordinator/service/rate_limiter.h"

#include <gtest/gtest.h>

#include "tests/coordinator/service/contribution_fixture.h"

namespace tributary::coordinator {
namespace {

TEST(RateLimiterTest, SourcesDoNotUseUpEachOther) {
  TestClock clock;
  RateLimiter limiter({.each = {.burst = 3, .per_second = 1},
                       .all = {.burst = 100, .per_second = 100}},
                      clock);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(limiter.Admit("a"));
  }
  EXPECT_FALSE(limiter.Admit("a"));
  EXPECT_TRUE(limiter.Admit("b"));
  clock.Advance(2);
  EXPECT_TRUE(limiter.Admit("a"));
  EXPECT_TRUE(limiter.Admit("a"));
  EXPECT_FALSE(limiter.Admit("a"));
}

TEST(RateLimiterTest, AllTogetherAreBounded) {
  TestClock clock;
  RateLimiter limiter({.each = {.burst = 3, .per_second = 1},
                       .all = {.burst = 5, .per_second = 1}},
                      clock);
  int admitted = 0;
  for (int i = 0; i < 20; ++i) {
    admitted += limiter.Admit(std::to_string(i)) ? 1 : 0;
  }
  EXPECT_EQ(admitted, 5);
}

TEST(RateLimiterTest, RemembersSoManySources) {
  TestClock clock;
  RateLimiter limiter({.each = {.burst = 1, .per_second = 1e-6},
                       .all = {.burst = 1e9, .per_second = 1},
                       .max_sources = 10},
                      clock);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(limiter.Admit(std::to_string(i)));
    clock.Advance(0.1);
  }
  // The newest are remembered.
  EXPECT_FALSE(limiter.Admit("999"));
  EXPECT_TRUE(limiter.Admit("0"));
}

TEST(RateLimiterTest, SourcesOfPeers) {
  EXPECT_EQ(SourceOf("ipv4:10.1.2.3:4711"), "ipv4:10.1.2.3");
  EXPECT_EQ(SourceOf("ipv6:[2001:db8:1:2:3:4:5:6]:80"),
            "ipv6:2001:db8:1:2::/64");
  EXPECT_EQ(SourceOf("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:80"),
            "ipv6:2001:db8:1:2::/64");
  EXPECT_EQ(SourceOf("ipv6:[::ffff:10.1.2.3]:80"), "ipv4:10.1.2.3");
  EXPECT_EQ(SourceOf("ipv6:[::1%25lo]:80"), "ipv6:::/64");
}

using ProbeTest = ContributionTest;

TEST_F(ProbeTest, SwallowsAndGivesPaddingWithinLimits) {
  const auto probe = [&](const Stubs& stubs, size_t up, int32_t down) {
    v1::ProbeRequest request;
    request.mutable_padding()->resize(up);
    request.set_response_bytes(down);
    return Call<v1::ProbeResponse>(*stubs.preflight,
                                   &v1::PreflightService::Stub::Probe, request);
  };
  const auto answer = probe(*alice_->stubs, 1 << 20, 1 << 20);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->padding().size(), size_t{1} << 20);
  EXPECT_NEAR(static_cast<double>(answer->time_ms()) / 1000,
              federation_->clock().NowSeconds(), 60);
  EXPECT_TRUE(absl::IsInvalidArgument(
      probe(*alice_->stubs, (1 << 20) + 1, 0).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(probe(*alice_->stubs, 0, -1).status()));
  EXPECT_TRUE(absl::IsUnauthenticated(
      probe(*federation_->Connect(federation_->anonymous()), 0, 0).status()));
  Status last;
  for (int i = 0; i < 2000 && last.ok(); ++i) {
    last = probe(*alice_->stubs, 0, 0).status();
  }
  EXPECT_TRUE(absl::IsResourceExhausted(last)) << last;
}

}  // namespace
}  // namespace tributary::coordinator
