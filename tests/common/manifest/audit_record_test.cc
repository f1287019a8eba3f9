#include "common/manifest/audit_record.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/crypto/digest.h"
#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

AuditRecord SampleRecord() {
  return {.time_s = 1'900'000'000,
          .actor = "coordinator",
          .action = "contribution.accept",
          .subject = "contributions/german",
          .detail_json = R"({"gates":4})"};
}

std::vector<std::string> SampleLog(int records, Chain& chain) {
  std::vector<std::string> log;
  for (int i = 0; i < records; ++i) {
    log.push_back(*chain.Append(SampleRecord()));
  }
  return log;
}

TEST(AuditRecord, HasTheseBytes) {
  const std::string json = *SampleRecord().ToJson();
  EXPECT_EQ(json, R"({"action":"contribution.accept","actor":"coordinator",)"
                  R"("detail":{"gates":4},"index":0,"previous_hash":")" +
                      std::string(kGenesisHash) +
                      R"(","subject":"contributions/german",)"
                      R"("time_s":1900000000})");
  EXPECT_EQ(*SampleRecord().Hash(), crypto::Sha256Hex(json));
}

TEST(AuditRecord, NamesTheFieldThatIsWrong) {
  ExpectStrict(SampleRecord(),
               {
                   {"/index", "-1", "record: index: got -1"},
                   {"/actor", "\"\"", "actor: got 0 bytes"},
                   {"/detail", "[]", "detail: got a list, wanted an object"},
                   {"/previous_hash", "\"\"", "previous_hash: got \"\""},
                   {"/extra", "1", "extra: unknown field"},
               });
  AuditRecord record = SampleRecord();
  record.detail_json = "{";
  EXPECT_TRUE(absl::IsInvalidArgument(record.ToJson().status()));
  record.detail_json = "[]";
  EXPECT_TRUE(absl::IsInvalidArgument(record.ToJson().status()));
}

TEST(Chain, VerifiesWhatItAppended) {
  Chain writer;
  const std::vector<std::string> log = SampleLog(4, writer);
  EXPECT_EQ(writer.size(), 4);
  EXPECT_EQ(writer.head_hash(), crypto::Sha256Hex(log.back()));
  Chain reader;
  for (const std::string& record : log) {
    ASSERT_TRUE(reader.Verify(record).ok());
  }
  EXPECT_EQ(reader.head_hash(), writer.head_hash());
  // From the middle on, with a head that is trusted.
  Chain middle(3, crypto::Sha256Hex(log[2]));
  EXPECT_TRUE(middle.Verify(log[3]).ok());
}

TEST(Chain, NoticesEveryChange) {
  Chain writer;
  const std::vector<std::string> log = SampleLog(3, writer);
  {
    Chain reader;  // a record is missing
    ASSERT_TRUE(reader.Verify(log[0]).ok());
    EXPECT_TRUE(absl::IsDataLoss(reader.Verify(log[2]).status()));
    EXPECT_EQ(reader.size(), 1);  // and nothing was taken in
    EXPECT_TRUE(reader.Verify(log[1]).ok());
  }
  for (size_t i = 0; i < log[1].size(); ++i) {
    Chain reader;
    ASSERT_TRUE(reader.Verify(log[0]).ok());
    std::string changed = log[1];
    changed[i] = static_cast<char>(changed[i] ^ 1);
    if (reader.Verify(changed).ok()) {
      EXPECT_TRUE(absl::IsDataLoss(reader.Verify(log[2]).status())) << i;
    }
  }
}

TEST(AuditCheckpoint, IsSignedAndStrict) {
  Chain chain;
  SampleLog(2, chain);
  const AuditCheckpoint checkpoint{.federation = "federation",
                                   .size = chain.size(),
                                   .head_hash = chain.head_hash(),
                                   .time_s = 1'900'000'000};
  ExpectStrict(checkpoint, {
                               {"/size", "0", "head_hash: got"},
                               {"/size", "-1", "size: got -1"},
                               {"/time_s", "1.5", "time_s: got 1.5"},
                               {"/extra", "1", "extra: unknown field"},
                           });
  const auto key = *crypto::PrivateKey::Generate();
  const auto envelope = SignAuditCheckpoint(checkpoint, key);
  ASSERT_TRUE(envelope.ok()) << envelope.status();
  EXPECT_EQ(*OpenAuditCheckpoint(*envelope, key.public_key()), checkpoint);
  // The head of an empty log.
  EXPECT_TRUE(SignAuditCheckpoint({.federation = "federation"}, key).ok());
}

TEST(AuditCheckpoint, OnlyGoesForward) {
  const AuditCheckpoint older{.federation = "federation",
                              .size = 5,
                              .head_hash = Hex('5'),
                              .time_s = 100};
  AuditCheckpoint newer = older;
  EXPECT_TRUE(CheckCheckpointOrder(older, newer).ok());
  newer.head_hash = Hex('6');
  EXPECT_TRUE(absl::IsDataLoss(CheckCheckpointOrder(older, newer)));
  newer.size = 6;
  EXPECT_TRUE(CheckCheckpointOrder(older, newer).ok());
  newer.time_s = 99;
  EXPECT_TRUE(absl::IsDataLoss(CheckCheckpointOrder(older, newer)));
  newer.time_s = 100;
  newer.size = 4;
  EXPECT_TRUE(absl::IsDataLoss(CheckCheckpointOrder(older, newer)));
  newer.size = 6;
  newer.federation = "other";
  EXPECT_TRUE(absl::IsDataLoss(CheckCheckpointOrder(older, newer)));
}

}  // namespace
}  // namespace tributary::manifest
