#include "common/rpc/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/files.h"

namespace tributary::rpc {
namespace {

TEST(CredentialsTest, ParsesPeerUris) {
  const auto contributor = ParsePeerUri("spiffe://fed-1/contributor/alice");
  ASSERT_TRUE(contributor.ok()) << contributor.status();
  EXPECT_EQ(contributor->federation, "fed-1");
  EXPECT_EQ(contributor->role, PeerRole::kContributor);
  EXPECT_EQ(contributor->id, "alice");
  EXPECT_EQ(ParsePeerUri("spiffe://f/operator/op")->role, PeerRole::kOperator);
  EXPECT_EQ(ParsePeerUri("spiffe://f/reader/r")->role, PeerRole::kReader);
}

TEST(CredentialsTest, RefusesEverythingElse) {
  for (const char* uri :
       {"", "spiffe://", "spiffe://fed", "spiffe://fed/", "spiffe://fed/signer",
        "spiffe://fed/coordinator", "spiffe://fed/contributor/",
        "spiffe://fed/contributor/a/b", "spiffe://fed/contributor/A",
        "spiffe:///contributor/a", "https://fed/contributor/a",
        "spiffe://fed/admin/a", "spiffe://fed/contributor/a%2e"}) {
    EXPECT_TRUE(absl::IsUnauthenticated(ParsePeerUri(uri).status())) << uri;
  }
}

TEST(CredentialsTest, MissingFilesAreNamed) {
  auto directory = TemporaryDirectory::Create("credentials");
  ASSERT_TRUE(directory.ok());
  const auto ca = directory->path() / "ca.pem";
  ASSERT_TRUE(WriteFileAtomic(ca, "ca").ok());
  const Status status =
      LoadTlsIdentity(ca, directory->path() / "none.pem", ca).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("none.pem"));
}

}  // namespace
}  // namespace tributary::rpc
