#include "contributor/daemon/certificate_keeper.h"

#include <gtest/gtest.h>

#include <atomic>

namespace tributary::contributor {
namespace {

TEST(CertificateKeeperTest, TriesAgainAfterErrorsAndEnds) {
  std::atomic<int> calls{0};
  {
    const CertificateKeeper keeper(0.001, [&calls]() -> Status {
      return ++calls < 3 ? Unavailable("not there") : absl::OkStatus();
    });
    while (calls < 5) {
      std::this_thread::yield();
    }
  }
  const int at_the_end = calls;
  std::this_thread::yield();
  EXPECT_EQ(calls, at_the_end);
}

TEST(CertificateKeeperTest, RestsWhileSomebodyElseRenews) {
  std::atomic<int> calls{0};
  CertificateKeeper keeper(0.001, [&calls] {
    ++calls;
    return absl::OkStatus();
  });
  const auto alone = keeper.Pause();
  const int before = calls;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(calls, before);
}

TEST(CertificateKeeperTest, ALongIntervalDoesNotDelayTheEnd) {
  const CertificateKeeper keeper(3600, [] { return absl::OkStatus(); });
}

}  // namespace
}  // namespace tributary::contributor
