#include "common/crypto/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/base/files.h"
#include "common/crypto/certificate_authority.h"
#include "common/crypto/digest.h"
#include "tests/common/crypto/test_clock.h"

namespace tributary::crypto {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CertificateTest : public testing::Test {
 protected:
  CertificateTest()
      : ca_(*CertificateAuthority::CreateSelfSigned(
            "federation", 3650 * kDaySeconds, clock_)) {}

  int64_t Now() const { return static_cast<int64_t>(clock_.NowSeconds()); }

  TestClock clock_;
  const CertificateAuthority ca_;
  const PrivateKey key_ = *PrivateKey::Generate();
};

TEST_F(CertificateTest, CarriesWhatItWasIssuedWith) {
  const StatusOr<Certificate> leaf = ca_.Issue(
      key_.public_key(),
      {.common_name = "server",
       .uris = {"spiffe://federation/coordinator"},
       .hosts = {"localhost", "127.0.0.1", "example.org", "2001:db8::1"},
       .usages = {KeyUsage::kServer},
       .lifetime_s = 365 * kDaySeconds});
  ASSERT_TRUE(leaf.ok()) << leaf.status();
  EXPECT_EQ(leaf->common_name(), "server");
  EXPECT_THAT(leaf->uris(), ElementsAre("spiffe://federation/coordinator"));
  EXPECT_THAT(leaf->dns_names(), ElementsAre("localhost", "example.org"));
  EXPECT_THAT(leaf->ip_addresses(), ElementsAre("127.0.0.1", "2001:db8::1"));
  EXPECT_EQ(leaf->not_before_s(), Now() - 300);
  EXPECT_EQ(leaf->not_after_s(), Now() + 365 * kDaySeconds);
  EXPECT_EQ(leaf->serial().size(), 32u);
  EXPECT_FALSE(leaf->is_ca());
  EXPECT_EQ(leaf->public_key(), key_.public_key());
  EXPECT_EQ(leaf->fingerprint(), "sha256:" + Sha256Hex(leaf->ToDer()));

  const StatusOr<Certificate> again = Certificate::FromPem(leaf->ToPem());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->ToDer(), leaf->ToDer());
  EXPECT_EQ(again->serial(), leaf->serial());
}

TEST_F(CertificateTest, VerifiesInItsTimeAndForItsUsage) {
  const Certificate leaf =
      *ca_.Issue(key_.public_key(),
                 {.common_name = "leaf", .usages = {KeyUsage::kClient}});
  const Certificate& ca = ca_.certificate();
  EXPECT_TRUE(leaf.VerifyChain(ca, Now()).ok());
  EXPECT_TRUE(leaf.VerifyChain(ca, Now(), KeyUsage::kClient).ok());
  EXPECT_TRUE(
      absl::IsUnauthenticated(leaf.VerifyChain(ca, Now(), KeyUsage::kServer)));
  const Status expired = leaf.VerifyChain(ca, Now() + 31 * kDaySeconds);
  EXPECT_TRUE(absl::IsUnauthenticated(expired));
  EXPECT_THAT(std::string(expired.message()), HasSubstr("expired"));
  EXPECT_TRUE(absl::IsUnauthenticated(leaf.VerifyChain(ca, Now() - 3600)));
}

TEST_F(CertificateTest, RefusesAnotherCaOfTheSameName) {
  const Certificate leaf =
      *ca_.Issue(key_.public_key(), {.common_name = "leaf"});
  const CertificateAuthority other = *CertificateAuthority::CreateSelfSigned(
      "federation", 3650 * kDaySeconds, clock_);
  EXPECT_TRUE(
      absl::IsUnauthenticated(leaf.VerifyChain(other.certificate(), Now())));
}

TEST_F(CertificateTest, ALeafCannotIssue) {
  const PrivateKey leaf_key = *PrivateKey::Generate();
  const Certificate leaf =
      *ca_.Issue(leaf_key.public_key(), {.common_name = "leaf"});
  EXPECT_TRUE(absl::IsInvalidArgument(
      CertificateAuthority::Create(leaf, leaf_key, clock_).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      CertificateAuthority::Create(ca_.certificate(), leaf_key, clock_)
          .status()));
  EXPECT_TRUE(
      CertificateAuthority::Create(ca_.certificate(), ca_.key(), clock_).ok());
}

TEST_F(CertificateTest, EndsWithItsCa) {
  clock_.Advance(3640.0 * kDaySeconds);
  const Certificate leaf =
      *ca_.Issue(key_.public_key(), {.common_name = "leaf"});
  EXPECT_EQ(leaf.not_after_s(), ca_.certificate().not_after_s());
  clock_.Advance(11.0 * kDaySeconds);
  EXPECT_FALSE(ca_.Issue(key_.public_key(), {.common_name = "leaf"}).ok());
}

TEST_F(CertificateTest, RefusesMalformedNames) {
  for (const LeafOptions& options :
       {LeafOptions{.common_name = ""},
        LeafOptions{.common_name = std::string(65, 'a')},
        LeafOptions{.common_name = "a", .uris = {"no uri"}},
        LeafOptions{.common_name = "a", .hosts = {"a b"}},
        LeafOptions{.common_name = "a", .hosts = {""}},
        LeafOptions{.common_name = "a", .lifetime_s = 0}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(
        ca_.Issue(key_.public_key(), options).status()));
  }
}

TEST_F(CertificateTest, RefusesMalformedTexts) {
  EXPECT_TRUE(absl::IsInvalidArgument(Certificate::FromPem("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Certificate::FromDer("abc").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Certificate::FromPem(std::string(1 << 20, '-')).status()));
  std::string der = ca_.certificate().ToDer();
  EXPECT_FALSE(Certificate::FromDer(der + "x").ok());
  der.resize(der.size() / 2);
  EXPECT_FALSE(Certificate::FromDer(der).ok());
  EXPECT_TRUE(absl::IsNotFound(Certificate::Load("/nonexistent").status()));
}

TEST_F(CertificateTest, EveryFlippedByteIsNoticed) {
  const Certificate leaf = *ca_.Issue(
      key_.public_key(),
      {.common_name = "leaf", .uris = {"spiffe://federation/contributor/a"}});
  const std::string der = leaf.ToDer();
  for (size_t i = 0; i < der.size(); ++i) {
    std::string flipped = der;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x01);
    const StatusOr<Certificate> parsed = Certificate::FromDer(flipped);
    if (parsed.ok()) {
      EXPECT_FALSE(parsed->VerifyChain(ca_.certificate(), Now()).ok()) << i;
    }
  }
}

TEST_F(CertificateTest, SigningRequestProvesTheKey) {
  const StatusOr<SigningRequest> request =
      SigningRequest::Create(key_, "contributor");
  ASSERT_TRUE(request.ok()) << request.status();
  const StatusOr<SigningRequest> received =
      SigningRequest::FromPem(request->ToPem());
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->public_key(), key_.public_key());
  const StatusOr<Certificate> leaf =
      ca_.Issue(received->public_key(), {.common_name = "contributor"});
  ASSERT_TRUE(leaf.ok()) << leaf.status();
  EXPECT_THAT(leaf->uris(), IsEmpty());
}

TEST_F(CertificateTest, SigningRequestWithAFlippedByteIsRefused) {
  const std::string pem = SigningRequest::Create(key_, "a")->ToPem();
  EXPECT_FALSE(SigningRequest::FromPem(pem.substr(0, 80)).ok());
  int refused = 0;
  int changed = 0;
  for (size_t i = 60; i + 60 < pem.size(); ++i) {
    std::string flipped = pem;
    flipped[i] = flipped[i] == 'A' ? 'B' : 'A';
    if (flipped != pem) {
      ++changed;
      refused += SigningRequest::FromPem(flipped).ok() ? 0 : 1;
    }
  }
  EXPECT_EQ(refused, changed);
}

}  // namespace
}  // namespace tributary::crypto
