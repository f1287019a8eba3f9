#include "common/manifest/spiffe.h"

#include <gtest/gtest.h>

#include <string>

#include "common/crypto/certificate_authority.h"
#include "tests/common/crypto/test_clock.h"

namespace tributary::manifest {
namespace {

TEST(Identity, GoesBothWays) {
  const std::pair<const char*, Identity> cases[] = {
      {"spiffe://fed/contributor/a-1",
       {.federation = "fed", .role = Role::kContributor, .id = "a-1"}},
      {"spiffe://fed/coordinator",
       {.federation = "fed", .role = Role::kCoordinator}},
      {"spiffe://fed/operator/admin",
       {.federation = "fed", .role = Role::kOperator, .id = "admin"}},
      {"spiffe://fed/signer", {.federation = "fed", .role = Role::kSigner}},
  };
  for (const auto& [uri, identity] : cases) {
    EXPECT_EQ(identity.ToUri(), uri);
    const StatusOr<Identity> parsed = ParseIdentity(uri);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, identity);
  }
}

TEST(Identity, RefusesEverythingElse) {
  for (const std::string& uri :
       {std::string(),
        std::string("spiffe://"),
        std::string("spiffe://fed"),
        std::string("spiffe://fed/"),
        std::string("spiffe://fed/contributor"),
        std::string("spiffe://fed/contributor/"),
        std::string("spiffe://fed/contributor/a/"),
        std::string("spiffe://fed/contributor/a/b"),
        std::string("spiffe://fed/contributor/A"),
        std::string("spiffe://fed/contributor/.."),
        std::string("spiffe://fed/contributor/a\0", 27),
        std::string("spiffe://fed/coordinator/"),
        std::string("spiffe://fed/coordinator/a"),
        std::string("spiffe://fed/signer/a"),
        std::string("spiffe://fed/other"),
        std::string("spiffe://Fed/signer"),
        std::string("spiffe:///signer"),
        std::string("SPIFFE://fed/signer"),
        std::string("http://fed/signer"),
        std::string("spiffe://fed/signer?x")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseIdentity(uri).status())) << uri;
  }
}

class VerifyIdentityTest : public testing::Test {
 protected:
  crypto::Certificate Issue(std::vector<std::string> uris) const {
    return *ca_.Issue(key_.public_key(),
                      {.common_name = "leaf", .uris = std::move(uris)});
  }
  int64_t Now() const { return static_cast<int64_t>(clock_.NowSeconds()); }

  const TestClock clock_;
  const crypto::CertificateAuthority ca_ =
      *crypto::CertificateAuthority::CreateSelfSigned(
          "fed", 3650 * crypto::kDaySeconds, clock_);
  const crypto::PrivateKey key_ = *crypto::PrivateKey::Generate();
};

TEST_F(VerifyIdentityTest, TakesItFromAVerifiedCertificate) {
  const auto identity = VerifyIdentity(Issue({"spiffe://fed/contributor/a"}),
                                       ca_.certificate(), "fed", Now());
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->id, "a");
}

TEST_F(VerifyIdentityTest, RefusesOtherFederationsNamesAndTimes) {
  const auto& ca = ca_.certificate();
  const auto code = [](const StatusOr<Identity>& identity) {
    return identity.status().code();
  };
  const auto leaf = Issue({"spiffe://fed/contributor/a"});
  EXPECT_EQ(code(VerifyIdentity(leaf, ca, "other", Now())),
            absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(
      code(VerifyIdentity(leaf, ca, "fed", Now() + 40 * crypto::kDaySeconds)),
      absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(code(VerifyIdentity(Issue({}), ca, "fed", Now())),
            absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(code(VerifyIdentity(Issue({"spiffe://fed/contributor/a",
                                       "spiffe://fed/operator/a"}),
                                ca, "fed", Now())),
            absl::StatusCode::kUnauthenticated);
  const auto other = *crypto::CertificateAuthority::CreateSelfSigned(
      "fed", crypto::kDaySeconds, clock_);
  EXPECT_EQ(code(VerifyIdentity(leaf, other.certificate(), "fed", Now())),
            absl::StatusCode::kUnauthenticated);
}

}  // namespace
}  // namespace tributary::manifest
