#include "contributor/client/retry_call.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::contributor {
namespace {

using ::testing::HasSubstr;

class RetrierTest : public ::testing::Test {
 protected:
  RetrierTest() {
    options_.give_up_after_s = 0;
    options_.sleep = [this](double) { ++waits_; };
  }
  RetryOptions options_;
  int waits_ = 0;
};

TEST_F(RetrierTest, PermanentErrorsAreReturnedAtOnce) {
  Retrier retrier(options_);
  EXPECT_TRUE(absl::IsNotFound(retrier.AfterFailure(absl::NotFoundError("x"))));
  EXPECT_EQ(waits_, 0);
}

TEST_F(RetrierTest, ACallThatTheOtherSideCancelsIsTriedAgain) {
  CancellationToken token;
  options_.cancellation = &token;
  Retrier retrier(options_);
  EXPECT_TRUE(retrier.AfterFailure(absl::CancelledError("CANCELLED")).ok());
  EXPECT_EQ(waits_, 1);
}

TEST_F(RetrierTest, WhatEndsTheAttemptsIsNoInterruption) {
  options_.give_up_after_s = 0.001;
  Retrier retrier(options_);
  const Status status = retrier.AfterFailure(absl::CancelledError("shut down"));
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("shut down"));
}

TEST_F(RetrierTest, AReasonWhyItIsInVainEndsTheAttempts) {
  int asked = 0;
  options_.check = [&asked]() -> Status {
    return ++asked < 3 ? absl::OkStatus() : absl::UnauthenticatedError("old");
  };
  Retrier retrier(options_);
  const Status gone = absl::UnavailableError("gone");
  EXPECT_TRUE(retrier.AfterFailure(gone).ok());
  EXPECT_TRUE(retrier.AfterFailure(gone).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(retrier.AfterFailure(gone)));
  EXPECT_EQ(waits_, 2);
  // It is not asked about what is permanent by itself.
  EXPECT_TRUE(absl::IsNotFound(retrier.AfterFailure(absl::NotFoundError("x"))));
  EXPECT_EQ(asked, 3);
}

TEST_F(RetrierTest, AnInterruptionEndsTheAttempts) {
  CancellationToken token;
  options_.cancellation = &token;
  Retrier retrier(options_);
  token.Cancel();
  EXPECT_TRUE(
      absl::IsCancelled(retrier.AfterFailure(absl::UnavailableError("gone"))));
  EXPECT_EQ(waits_, 0);
}

}  // namespace
}  // namespace tributary::contributor
