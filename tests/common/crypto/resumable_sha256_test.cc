#include "common/crypto/resumable_sha256.h"

#include <gtest/gtest.h>

#include <string>

#include "common/base/random.h"
#include "common/crypto/digest.h"

namespace tributary::crypto {
namespace {

TEST(ResumableSha256, AgreesWithEvpForEveryLengthAroundABlock) {
  const std::string bytes = RandomBytes(300);
  for (size_t size = 0; size <= bytes.size(); ++size) {
    ResumableSha256 hash;
    hash.Update(bytes.substr(0, size));
    EXPECT_EQ(hash.Hex(), Sha256Hex(bytes.substr(0, size)));
  }
}

TEST(ResumableSha256, GoesOnFromASavedStateAtEveryOffset) {
  const std::string bytes = RandomBytes(200);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    ResumableSha256 first;
    first.Update(bytes.substr(0, cut));
    auto second = ResumableSha256::Restore(first.Save());
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(second->size(), cut);
    second->Update(bytes.substr(cut));
    EXPECT_EQ(second->Hex(), Sha256Hex(bytes));
  }
}

TEST(ResumableSha256, RefusesDamagedStates) {
  ResumableSha256 hash;
  hash.Update("some bytes");
  const std::string saved = hash.Save();
  EXPECT_EQ(saved.size(), 160u);
  EXPECT_TRUE(absl::IsInvalidArgument(ResumableSha256::Restore("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      ResumableSha256::Restore(saved.substr(0, 120)).status()));
  for (size_t i = 0; i < saved.size(); ++i) {
    std::string damaged = saved;
    damaged[i] = damaged[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(ResumableSha256::Restore(damaged).ok()) << i;
  }
}

}  // namespace
}  // namespace tributary::crypto
