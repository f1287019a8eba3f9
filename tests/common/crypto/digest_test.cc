#include "common/crypto/digest.h"

#include <gtest/gtest.h>

#include <string>

#include "common/base/files.h"
#include "common/base/random.h"

namespace tributary::crypto {
namespace {

constexpr const char* kOfNothing =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kOfAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Sha256, GivesTheVectorsOfFips180) {
  EXPECT_EQ(Sha256Hex(""), kOfNothing);
  EXPECT_EQ(Sha256Hex("abc"), kOfAbc);
  EXPECT_EQ(Sha256Hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheDigestOfTheWhole) {
  Sha256 hash;
  hash.Update(std::string_view("a"));
  hash.Update(std::string_view(""));
  const Sha256 after_a = hash;
  const std::byte rest[] = {std::byte{'b'}, std::byte{'c'}};
  hash.Update(std::span(rest));
  EXPECT_EQ(hash.Hex(), kOfAbc);
  EXPECT_EQ(hash.Hex(), kOfAbc);  // asking does not end it
  EXPECT_EQ(hash.size(), 3u);
  EXPECT_EQ(hash.Bytes().size(), 32u);
  Sha256 copy = after_a;
  copy.Update(std::string_view("bc"));
  EXPECT_EQ(copy.Hex(), kOfAbc);
}

TEST(Sha256, RecognisesItsTextForm) {
  EXPECT_TRUE(IsSha256Hex(kOfAbc));
  std::string upper = kOfAbc;
  upper[0] = 'B';
  EXPECT_FALSE(IsSha256Hex(upper));
  EXPECT_FALSE(IsSha256Hex("abc"));
}

class DigestFileTest : public testing::Test {
 protected:
  DigestFileTest() : directory_(*TemporaryDirectory::Create("digest")) {}
  const TemporaryDirectory directory_;
};

TEST_F(DigestFileTest, GoesOnFromAPrefix) {
  const std::string bytes = RandomBytes((3 << 20) + 17);
  const auto path = directory_.path() / "file";
  ASSERT_TRUE(WriteFileAtomic(path, bytes).ok());
  const StatusOr<FileDigest> whole = DigestFile(path);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->sha256, Sha256Hex(bytes));
  EXPECT_EQ(whole->size, bytes.size());

  StatusOr<Sha256> prefix = DigestFilePrefix(path, (2 << 20) + 5);
  ASSERT_TRUE(prefix.ok()) << prefix.status();
  prefix->Update(std::string_view(bytes).substr((2 << 20) + 5));
  EXPECT_EQ(prefix->Hex(), whole->sha256);
  EXPECT_EQ(DigestFilePrefix(path, 0)->Hex(), kOfNothing);
}

TEST_F(DigestFileTest, SaysWhatIsMissing) {
  const auto path = directory_.path() / "file";
  EXPECT_TRUE(absl::IsNotFound(DigestFile(path).status()));
  ASSERT_TRUE(WriteFileAtomic(path, "abc").ok());
  EXPECT_TRUE(absl::IsDataLoss(DigestFilePrefix(path, 4).status()));
  CancellationToken cancelled;
  cancelled.Cancel();
  EXPECT_TRUE(absl::IsCancelled(DigestFile(path, &cancelled).status()));
}

}  // namespace
}  // namespace tributary::crypto
