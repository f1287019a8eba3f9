#include "common/manifest/receipts.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

TEST(WithdrawalReceipt, HasTheseBytes) {
  EXPECT_EQ(*SampleWithdrawal().ToJson(),
            R"({"audit":{"head_hash":")" + Hex('2') +
                R"(","size":17},"contribution":"german",)"
                R"("contributor":"site-a","expert_blob":"blobs/sha256/)" +
                Hex('b') +
                R"(/4096","federation":"federation",)"
                R"("purge_time_s":1900000900,"withdraw_time_s":1900000000,)"
                R"("withdrawn_releases":[{"digest":")" +
                Hex('1') + R"(","name":"releases/2"}]})");
}

TEST(WithdrawalReceipt, NamesTheFieldThatIsWrong) {
  ExpectStrict(
      SampleWithdrawal(),
      {
          {"/audit/size", "-1", "withdrawal receipt: audit.size: got -1"},
          {"/audit/x", "1", "audit.x: unknown field"},
          {"/expert_blob", "null", "expert_blob: got null"},
          {"/withdrawn_releases/0/name", "\"2\"", "releases[0].name: got \"2"},
          {"/withdrawn_releases/0/digest", "2", "releases[0].digest: got 2"},
          {"/purge_time_s", "", "purge_time_s: the field is missing"},
      });
}

TEST(WithdrawalReceipt, SaysWhoActedOnTheOwnersBehalf) {
  WithdrawalReceipt receipt = SampleWithdrawal();
  receipt.on_behalf = {.by = "spiffe://federation/operator/admin",
                       .reason = "the clinic asked by letter"};
  const auto json = receipt.ToJson();
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(*WithdrawalReceipt::FromJson(*json), receipt);
  ExpectStrict(receipt, {{"/on_behalf/by", "\"\"", "on_behalf.by"},
                         {"/on_behalf/reason", "", "on_behalf.reason"},
                         {"/on_behalf/x", "1", "on_behalf.x: unknown field"}});
}

TEST(PurgeReceipt, HasTheseBytes) {
  EXPECT_EQ(
      *SamplePurge().ToJson(),
      R"({"audit":{"head_hash":")" + Hex('2') +
          R"(","size":20},"contribution":"german","contributor":"site-a",)"
          R"("deleted_blobs":["blobs/sha256/)" +
          Hex('b') + R"(/4096"],"expert_blob":"blobs/sha256/)" + Hex('b') +
          R"(/4096","federation":"federation","kept_blobs":[)"
          R"({"blob":"blobs/sha256/)" +
          Hex('c') +
          R"(/7","reason":"part of contributions/maths"}],)"
          R"("new_release":{"digest":")" +
          Hex('3') +
          R"(","name":"releases/3"},)"
          R"("outside":["backups made before the purge",)"
          R"("copies of withdrawn releases that readers already hold"],)"
          R"("purge_time_s":1900000900,"withdrawn_releases":[{"digest":")" +
          Hex('1') + R"(","name":"releases/2"}]})");
}

TEST(PurgeReceipt, NamesTheFieldThatIsWrong) {
  ExpectStrict(
      SamplePurge(),
      {
          {"/deleted_blobs/0", "1", "purge receipt: deleted_blobs[0]: got 1"},
          {"/kept_blobs/0/reason", "\"\"", "kept_blobs[0].reason: got 0 bytes"},
          {"/new_release", "1", "new_release: got 1, wanted an object"},
          {"/new_release/digest", "1", "new_release.digest: got 1"},
          {"/outside/0", "1", "outside[0]: got 1"},
          {"/extra", "1", "extra: unknown field"},
      });
  PurgeReceipt receipt = SamplePurge();
  receipt.new_release.reset();
  const auto json = receipt.ToJson();
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(*PurgeReceipt::FromJson(*json), receipt);
}

TEST(Receipts, AreSignedAndNotMixedUp) {
  const auto key = *crypto::PrivateKey::Generate();
  const auto first = SignWithdrawalReceipt(SampleWithdrawal(), key);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = SignPurgeReceipt(SamplePurge(), key);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(*OpenWithdrawalReceipt(*first, key.public_key()),
            SampleWithdrawal());
  EXPECT_EQ(*OpenPurgeReceipt(*second, key.public_key()), SamplePurge());
  EXPECT_TRUE(absl::IsInvalidArgument(
      OpenPurgeReceipt(*first, key.public_key()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      OpenWithdrawalReceipt(*second, key.public_key()).status()));
  const auto other = *crypto::PrivateKey::Generate();
  EXPECT_TRUE(absl::IsUnauthenticated(
      OpenPurgeReceipt(*second, other.public_key()).status()));
}

}  // namespace
}  // namespace tributary::manifest
