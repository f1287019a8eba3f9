#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "common/rpc/status_conversion.h"
#include "coordinator/service/stream_registry.h"
#include "coordinator/service/upload_registry.h"
#include "coordinator/service/work_pool.h"

namespace tributary::coordinator {
namespace {

using Lease = std::unique_ptr<UploadRegistry::Lease>;

// One stream's view of an upload.
struct Claimant {
  Lease lease;
  bool overtaken = false;
  Status ended;

  UploadRegistry::Claim Claim() {
    return {.end = [this](const Status& status) { ended = status; },
            .granted =
                [this](Lease granted) {
                  overtaken = granted == nullptr;
                  lease = std::move(granted);
                }};
  }
};

TEST(UploadRegistryTest, TheNewestGetsTheUploadOnceTheHolderLetsGo) {
  UploadRegistry registry;
  Claimant first;
  Claimant second;
  Claimant third;
  registry.Acquire("a", first.Claim());
  ASSERT_TRUE(first.lease);
  registry.Acquire("a", second.Claim());
  EXPECT_TRUE(absl::IsAborted(first.ended));
  EXPECT_FALSE(second.lease);
  registry.Acquire("a", third.Claim());
  EXPECT_TRUE(second.overtaken);
  EXPECT_FALSE(third.lease);
  first.lease.reset();
  EXPECT_FALSE(second.lease);
  EXPECT_TRUE(third.lease);
  EXPECT_TRUE(third.ended.ok());
  third.lease.reset();
  Claimant fourth;
  registry.Acquire("a", fourth.Claim());
  EXPECT_TRUE(fourth.lease);
}

TEST(UploadRegistryTest, UploadsAreIndependent) {
  UploadRegistry registry;
  Claimant first;
  Claimant second;
  registry.Acquire("a", first.Claim());
  registry.Acquire("b", second.Claim());
  EXPECT_TRUE(first.lease && second.lease);
  EXPECT_TRUE(first.ended.ok());
}

class MovedClock : public Clock {
 public:
  double MonotonicSeconds() const override { return seconds; }
  double seconds = 100;
};

TEST(StreamRegistryTest, WhatStandsStillEndsAndWatchesDoNot) {
  MovedClock clock;
  StreamRegistry registry(clock, {.idle_s = 10, .per_identity = 2});
  Status upload;
  Status moving;
  Status watch;
  const auto one = registry.Enter("x", StreamKind::kUpload,
                                  [&](const Status& s) { upload = s; });
  const auto two = registry.Enter("x", StreamKind::kUpload,
                                  [&](const Status& s) { moving = s; });
  const auto three = registry.Enter("x", StreamKind::kWatch,
                                    [&](const Status& s) { watch = s; });
  ASSERT_TRUE(one.ok() && two.ok() && three.ok());
  EXPECT_EQ(registry.Counts(), (std::array<int64_t, 3>{2, 0, 1}));
  clock.seconds += 9;
  (*two)->Touch();
  clock.seconds += 2;
  registry.EndIdle();
  EXPECT_TRUE(absl::IsDeadlineExceeded(upload));
  EXPECT_TRUE(moving.ok());
  EXPECT_TRUE(watch.ok());
  registry.EndStreamsOf("y", Aborted("no"));
  EXPECT_TRUE(watch.ok());
  registry.EndStreamsOf("x", Aborted("yes"));
  EXPECT_TRUE(absl::IsAborted(watch));
}

TEST(StreamRegistryTest, PlacesAreCountedForEachIdentityAndKind) {
  StreamRegistry registry(SystemClock(), {.per_identity = 1});
  const auto enter = [&](const char* identity, StreamKind kind) {
    return registry.Enter(identity, kind, [](const Status&) {});
  };
  auto first = enter("x", StreamKind::kUpload);
  ASSERT_TRUE(first.ok());
  const Status second = enter("x", StreamKind::kUpload).status();
  EXPECT_TRUE(rpc::HasReason(second, rpc::kTooManyStreams)) << second;
  EXPECT_TRUE(enter("x", StreamKind::kDownload).ok());
  EXPECT_TRUE(enter("y", StreamKind::kUpload).ok());
  first->reset();
  EXPECT_TRUE(enter("x", StreamKind::kUpload).ok());
}

TEST(WorkPoolTest, EndsWhenEverythingRan) {
  std::atomic<int> ran{0};
  {
    WorkPool pool(2);
    for (int i = 0; i < 100; ++i) {
      pool.Submit([&] { ++ran; });
    }
  }
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace tributary::coordinator
