#include "common/manifest/ledger_entry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tributary::manifest {
namespace {

using testing::HasSubstr;

class LedgerTest : public testing::Test {
 protected:
  LedgerTest() {
    for (int i = 0; i < 3; ++i) {
      // The key is renewed behind the second entry.
      const StatusOr<std::string> line =
          AppendLedgerEntry({.time_s = 1'900'000'000 + i,
                             .actor = "Zoe",
                             .action = "egress.approve",
                             .subject = "contributions/german",
                             .detail_json = R"({"blob":"x"})"},
                            i < 2 ? first_ : second_, chain_);
      lines_.push_back(*line + "\n");
    }
  }
  std::string Text() const { return lines_[0] + lines_[1] + lines_[2]; }
  std::vector<crypto::PublicKey> Keys() const {
    return {first_.public_key(), second_.public_key()};
  }

  const crypto::PrivateKey first_ = *crypto::PrivateKey::Generate();
  const crypto::PrivateKey second_ = *crypto::PrivateKey::Generate();
  Chain chain_;
  std::vector<std::string> lines_;
};

TEST_F(LedgerTest, VerifiesAcrossKeys) {
  Chain chain;
  const auto entries = VerifyLedger(Text(), Keys(), chain);
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ(entries->at(2).time_s, 1'900'000'002);
  EXPECT_EQ(chain.head_hash(), chain_.head_hash());
  EXPECT_EQ(chain.size(), 3);
  EXPECT_EQ(ReadLedgerEntryUnverified(lines_[1])->index, 1);
  EXPECT_TRUE(VerifyLedger("", {}, chain)->empty());
  EXPECT_EQ(chain.size(), 0);
}

TEST_F(LedgerTest, NamesTheLineThatIsWrong) {
  Chain chain;
  const Status missing =
      VerifyLedger(lines_[0] + lines_[2], Keys(), chain).status();
  EXPECT_TRUE(absl::IsDataLoss(missing));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("ledger: line 2"));

  const Status unknown =
      VerifyLedger(Text(), {first_.public_key()}, chain).status();
  EXPECT_TRUE(absl::IsUnauthenticated(unknown));
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("ledger: line 3"));

  std::string text = Text();
  text.pop_back();
  EXPECT_THAT(std::string(VerifyLedger(text, Keys(), chain).status().message()),
              HasSubstr("line 3: cut off"));
  EXPECT_TRUE(absl::IsDataLoss(
      VerifyLedger(lines_[0] + "garbage\n", Keys(), chain).status()));
}

TEST_F(LedgerTest, KeepsTheChainWhenAnEntryIsRefused) {
  const std::string head = chain_.head_hash();
  EXPECT_FALSE(AppendLedgerEntry({.actor = ""}, first_, chain_).ok());
  EXPECT_EQ(chain_.head_hash(), head);
  EXPECT_EQ(chain_.size(), 3);
}

}  // namespace
}  // namespace tributary::manifest
