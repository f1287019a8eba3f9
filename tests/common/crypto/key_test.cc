#include "common/crypto/key.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "common/base/files.h"
#include "common/crypto/digest.h"

namespace tributary::crypto {
namespace {

TEST(Key, SignsAndVerifies) {
  const PrivateKey key = *PrivateKey::Generate();
  const StatusOr<std::string> signature = key.Sign("message");
  ASSERT_TRUE(signature.ok()) << signature.status();
  EXPECT_TRUE(key.public_key().Verify("message", *signature).ok());
  EXPECT_TRUE(
      absl::IsUnauthenticated(key.public_key().Verify("massage", *signature)));
  std::string flipped = *signature;
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  EXPECT_TRUE(
      absl::IsUnauthenticated(key.public_key().Verify("message", flipped)));
  EXPECT_TRUE(absl::IsUnauthenticated(key.public_key().Verify("message", "")));
  const PrivateKey other = *PrivateKey::Generate();
  EXPECT_TRUE(absl::IsUnauthenticated(
      other.public_key().Verify("message", *signature)));
}

TEST(Key, GoesThroughPemAndDer) {
  const PrivateKey key = *PrivateKey::Generate();
  const StatusOr<PrivateKey> again = PrivateKey::FromPem(key.ToPem());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->public_key(), key.public_key());
  const PublicKey& public_key = key.public_key();
  EXPECT_EQ(*PublicKey::FromPem(public_key.ToPem()), public_key);
  EXPECT_EQ(*PublicKey::FromDer(public_key.ToDer()), public_key);
  EXPECT_EQ(public_key.key_id(), "sha256:" + Sha256Hex(public_key.ToDer()));
  EXPECT_FALSE(PublicKey::FromDer(public_key.ToDer() + "x").ok());
}

TEST(Key, KeepsFilesToTheirOwner) {
  const auto directory = *TemporaryDirectory::Create("key");
  const auto path = directory.path() / "key.pem";
  const PrivateKey key = *PrivateKey::Generate();
  EXPECT_TRUE(absl::IsNotFound(PrivateKey::Load(path).status()));
  ASSERT_TRUE(key.Save(path).ok());
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(PrivateKey::Load(path)->public_key(), key.public_key());
  ASSERT_EQ(chmod(path.c_str(), 0640), 0);
  const Status status = PrivateKey::Load(path).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status));
  EXPECT_NE(status.message().find("got mode 0640, wanted 0600"),
            absl::string_view::npos)
      << status;
}

TEST(Key, RefusesWhatIsNotAP256Key) {
  // The example of RFC 8410 section 10.1.
  constexpr const char* kEd25519 =
      "-----BEGIN PUBLIC KEY-----\n"
      "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
      "-----END PUBLIC KEY-----\n";
  EXPECT_TRUE(absl::IsInvalidArgument(PublicKey::FromPem(kEd25519).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(PublicKey::FromPem("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(PrivateKey::FromPem("-----").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      PrivateKey::FromPem(std::string(1 << 20, 'a')).status()));
  // A public key is not a private one.
  const PrivateKey key = *PrivateKey::Generate();
  EXPECT_FALSE(PrivateKey::FromPem(key.public_key().ToPem()).ok());
}

}  // namespace
}  // namespace tributary::crypto
