#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/manifest/chain_record.h"
#include "tests/coordinator/service/contribution_fixture.h"

namespace tributary::coordinator {
namespace {

class AuditRecordsTest : public ContributionTest {
 protected:
  StatusOr<v1::ListAuditRecordsResponse> List(
      const v1::ListAuditRecordsRequest& request) {
    return Call<v1::ListAuditRecordsResponse>(
        *federation_->operator_stubs().audit,
        &v1::AuditService::Stub::ListAuditRecords, request);
  }
};

TEST_F(AuditRecordsTest, PagesFormTheChainOfTheCheckpoint) {
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp", 1).ok());
  const auto checkpoint = Call<v1::Checkpoint>(
      *alice_->stubs->audit, &v1::AuditService::Stub::GetCheckpoint,
      v1::GetCheckpointRequest());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  manifest::Chain chain;
  v1::ListAuditRecordsRequest request;
  request.set_page_size(2);
  do {
    const auto page = List(request);
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LE(page->records_size(), 2);
    for (const v1::AuditRecord& record : page->records()) {
      const auto verified = chain.Verify(record.record_json());
      ASSERT_TRUE(verified.ok()) << verified.status();
      EXPECT_EQ(record.position(), chain.size() - 1);
      EXPECT_EQ(record.hash(), chain.head_hash());
      EXPECT_EQ(record.action(), verified->action);
      EXPECT_EQ(record.time_s(), verified->time_s);
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(chain.size(), checkpoint->size());
  EXPECT_EQ(chain.head_hash(), checkpoint->head_hash());
}

TEST_F(AuditRecordsTest, OneSubjectFromOnePosition) {
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "exp", 1).ok());
  ASSERT_TRUE(federation_->ContributeAndAdmit(*alice_, "two", 2).ok());
  v1::ListAuditRecordsRequest request;
  request.set_subject("contributions/two");
  const auto page = List(request);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_GT(page->records_size(), 1);
  for (const v1::AuditRecord& record : page->records()) {
    EXPECT_EQ(record.subject(), "contributions/two");
  }
  request.set_first_position(page->records(0).position() + 1);
  EXPECT_EQ(List(request)->records_size(), page->records_size() - 1);
  // A token belongs to its arguments.
  request.set_page_size(1);
  const auto first = List(request);
  request.set_page_token(first->next_page_token());
  EXPECT_TRUE(List(request).ok());
  request.set_subject("contributions/exp");
  EXPECT_TRUE(absl::IsInvalidArgument(List(request).status()));
  request = {};
  request.set_first_position(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(List(request).status()));
}

TEST_F(AuditRecordsTest, ForOperatorsOnly) {
  EXPECT_TRUE(absl::IsPermissionDenied(
      Call<v1::ListAuditRecordsResponse>(
          *alice_->stubs->audit, &v1::AuditService::Stub::ListAuditRecords,
          v1::ListAuditRecordsRequest())
          .status()));
}

}  // namespace
}  // namespace tributary::coordinator
