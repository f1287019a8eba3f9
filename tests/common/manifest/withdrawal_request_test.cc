#include "common/manifest/withdrawal_request.h"

#include <gtest/gtest.h>

#include "common/manifest/receipts.h"
#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

WithdrawalRequest Sample() {
  return {.federation = "federation",
          .contribution = "german",
          .contributor = "site-a",
          .request_time_s = 1'900'000'000};
}

TEST(WithdrawalRequest, IsStrict) {
  EXPECT_EQ(*WithdrawalRequest::FromJson(*Sample().ToJson()), Sample());
  ExpectStrict(Sample(), {{"/contributor", "\"Site A\"", "contributor: got"},
                          {"/request_time_s", "-1", "request_time_s: got -1"},
                          {"/reason", "\"x\"", "reason: unknown field"}});
}

TEST(WithdrawalRequest, OpensWithAnyKeyThatItsOwnerHad) {
  const auto old_key = crypto::PrivateKey::Generate();
  const auto new_key = crypto::PrivateKey::Generate();
  const auto envelope = SignWithdrawalRequest(Sample(), *old_key);
  ASSERT_TRUE(envelope.ok()) << envelope.status();
  const auto opened = OpenWithdrawalRequest(
      *envelope, {new_key->public_key(), old_key->public_key()});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened, Sample());
  for (const auto& keys : std::vector<std::vector<crypto::PublicKey>>{
           {}, {new_key->public_key()}}) {
    EXPECT_TRUE(absl::IsUnauthenticated(
        OpenWithdrawalRequest(*envelope, keys).status()));
  }
  // Another signed statement of the same owner is not a request.
  const auto receipt = SignWithdrawalReceipt(SampleWithdrawal(), *old_key);
  EXPECT_TRUE(absl::IsInvalidArgument(
      OpenWithdrawalRequest(*receipt, {old_key->public_key()}).status()));
}

}  // namespace
}  // namespace tributary::manifest
