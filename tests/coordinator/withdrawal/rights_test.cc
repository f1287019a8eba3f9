// Who may withdraw what, and what single contributors may do.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/random.h"
#include "common/manifest/receipts.h"
#include "common/manifest/withdrawal_request.h"
#include "tests/coordinator/withdrawal/withdrawal_fixture.h"

namespace tributary::coordinator {
namespace {

using testing::HasSubstr;

class RightsTest : public WithdrawalTest {};

TEST_F(RightsTest, ARevokedOwnerCanStillTakeItsExpertOut) {
  Contribute(0);
  v1::RevokeContributorRequest revoke;
  revoke.set_request_id(RandomUuid());
  revoke.set_name("contributors/alice");
  ASSERT_TRUE(Call<v1::Contributor>(*federation_->operator_stubs().admin,
                                    &v1::AdminService::Stub::RevokeContributor,
                                    revoke)
                  .ok());
  EXPECT_TRUE(absl::IsPermissionDenied(
      federation_->GetContribution(owners_[0], "alice").status()));
  const auto asked = federation_->Withdraw(owners_[0], "alice");
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_TRUE(asked->requested_by().empty());
  ASSERT_TRUE(federation_->RunJobs().ok());
  EXPECT_EQ(federation_->GetWithdrawal(owners_[0], "alice")->state(),
            v1::Withdrawal::PURGED);
  EXPECT_TRUE(
      absl::IsNotFound(federation_->Withdraw(owners_[0], "bob").status()));
}

TEST_F(RightsTest, TheOperatorActsOnAnOwnersBehalf) {
  Contribute(0);
  Contribute(1);
  v1::CreateWithdrawalRequest request;
  request.set_request_id(RandomUuid());
  request.set_contribution("contributions/alice");
  const auto create = [&](const Stubs& stubs) {
    return Call<v1::Withdrawal>(
        *stubs.admin, &v1::AdminService::Stub::CreateWithdrawal, request);
  };
  EXPECT_TRUE(
      absl::IsInvalidArgument(create(federation_->operator_stubs()).status()));
  request.set_reason("asked by letter");
  EXPECT_TRUE(absl::IsPermissionDenied(create(*owners_[1].stubs).status()));
  const auto made = create(federation_->operator_stubs());
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_THAT(made->requested_by(), HasSubstr("/operator/"));
  const auto receipt = manifest::OpenWithdrawalReceipt(made->receipt_json(),
                                                       federation_->signer());
  ASSERT_TRUE(receipt.ok()) << receipt.status();
  ASSERT_TRUE(receipt->on_behalf.has_value());
  EXPECT_EQ(receipt->on_behalf->reason, "asked by letter");

  // An owner's request that came by other means, once its key is checked.
  v1::CreateWithdrawalRequest by_mail;
  by_mail.set_request_id(RandomUuid());
  by_mail.set_contribution("contributions/bob");
  const manifest::WithdrawalRequest wish = {.federation = "test",
                                            .contribution = "bob",
                                            .contributor = "bob",
                                            .request_time_s = 1};
  for (const bool own_key : {false, true}) {
    by_mail.set_request_id(RandomUuid());
    by_mail.set_signed_request_json(*manifest::SignWithdrawalRequest(
        wish, own_key ? owners_[1].key : owners_[0].key));
    const auto answer = Call<v1::Withdrawal>(
        *federation_->operator_stubs().admin,
        &v1::AdminService::Stub::CreateWithdrawal, by_mail);
    EXPECT_EQ(answer.ok(), own_key) << answer.status();
    if (answer.ok()) {
      EXPECT_TRUE(answer->requested_by().empty());
    } else {
      EXPECT_TRUE(absl::IsUnauthenticated(answer.status())) << answer.status();
    }
  }
}

TEST_F(RightsTest, PoliciesOfOneContributorLimitItsContributions) {
  v1::UpdateContributorPolicyRequest request;
  request.set_request_id(RandomUuid());
  request.set_name("contributors/alice");
  request.mutable_policy()->set_max_contributions(1);
  request.mutable_policy()->set_require_operator(true);
  request.mutable_update_mask()->add_paths("max_contributions");
  request.mutable_update_mask()->add_paths("require_operator");
  const auto update = [&] {
    return Call<v1::Contributor>(
        *federation_->operator_stubs().admin,
        &v1::AdminService::Stub::UpdateContributorPolicy, request);
  };
  const auto set = update();
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->policy().max_contributions(), 1);
  EXPECT_FALSE(set->policy().has_max_bytes());
  Contribute(0);
  EXPECT_EQ(federation_->GetContribution(owners_[0], "alice")->state(),
            v1::Contribution::QUARANTINED);
  EXPECT_TRUE(absl::IsResourceExhausted(
      federation_->ContributeAndAdmit(owners_[0], "second", 1)));
  Contribute(1);
  EXPECT_EQ(federation_->GetContribution(owners_[1], "bob")->state(),
            v1::Contribution::ACCEPTED);
  // Named in the mask and not set: as the configuration says.
  request.set_request_id(RandomUuid());
  request.clear_policy();
  EXPECT_FALSE(update()->policy().has_max_contributions());
  EXPECT_TRUE(federation_->ContributeAndAdmit(owners_[0], "second", 1).ok());
  request.set_request_id(RandomUuid());
  request.mutable_update_mask()->add_paths("state");
  EXPECT_TRUE(absl::IsInvalidArgument(update().status()));
}

}  // namespace
}  // namespace tributary::coordinator
