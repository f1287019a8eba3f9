// What we make must hold for others: the openssl command verifies it.

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/crypto/certificate_authority.h"
#include "common/crypto/dsse.h"

namespace tributary::crypto {
namespace {

class OpensslCliTest : public testing::Test {
 protected:
  OpensslCliTest() : directory_(*TemporaryDirectory::Create("openssl_cli")) {}

  std::string Path(const std::string& name) const {
    return (directory_.path() / name).string();
  }
  void Write(const std::string& name, const std::string& content) const {
    ASSERT_TRUE(WriteFileAtomic(Path(name), content).ok());
  }
  // Runs `openssl arguments` in the folder; its standard output goes to "out".
  int OpenSsl(const std::string& arguments) const {
    return std::system(("cd '" + directory_.path().string() + "' && openssl " +
                        arguments + " > out 2> err")
                           .c_str());
  }
  std::string Output() const { return *ReadFile(Path("out")); }

  const TemporaryDirectory directory_;
};

TEST_F(OpensslCliTest, VerifiesACertificateChain) {
  const auto ca = *CertificateAuthority::CreateSelfSigned(
      "federation", 3650 * kDaySeconds, SystemClock());
  const PrivateKey key = *PrivateKey::Generate();
  const auto leaf =
      *ca.Issue(key.public_key(), {.common_name = "server",
                                   .uris = {"spiffe://federation/coordinator"},
                                   .hosts = {"localhost", "127.0.0.1"},
                                   .usages = {KeyUsage::kServer}});
  Write("ca.pem", ca.certificate().ToPem());
  Write("leaf.pem", leaf.ToPem());
  EXPECT_EQ(OpenSsl("verify -x509_strict -purpose sslserver -verify_hostname "
                    "localhost -CAfile ca.pem leaf.pem"),
            0)
      << *ReadFile(Path("err"));
  EXPECT_NE(OpenSsl("verify -purpose sslclient -CAfile ca.pem leaf.pem"), 0);
  ASSERT_EQ(OpenSsl("x509 -in leaf.pem -noout -ext subjectAltName"), 0);
  EXPECT_NE(Output().find("URI:spiffe://federation/coordinator"),
            std::string::npos);
  EXPECT_NE(Output().find("IP Address:127.0.0.1"), std::string::npos);
}

TEST_F(OpensslCliTest, VerifiesAnEnvelopesSignature) {
  const PrivateKey key = *PrivateKey::Generate();
  const Envelope envelope = *SignEnvelope("type", "payload", key);
  Write("key.pem", key.public_key().ToPem());
  Write("signature", envelope.signatures[0].bytes);
  Write("message", PreAuthenticationEncoding("type", "payload"));
  EXPECT_EQ(
      OpenSsl("dgst -sha256 -verify key.pem -signature signature message"), 0);
  Write("message", PreAuthenticationEncoding("type", "Payload"));
  EXPECT_NE(
      OpenSsl("dgst -sha256 -verify key.pem -signature signature message"), 0);
}

TEST_F(OpensslCliTest, ReadsSigningRequestsAndKeys) {
  const PrivateKey key = *PrivateKey::Generate();
  Write("request.pem", SigningRequest::Create(key, "contributor")->ToPem());
  EXPECT_EQ(OpenSsl("req -in request.pem -verify -noout"), 0);
  ASSERT_TRUE(key.Save(Path("private.pem")).ok());
  ASSERT_EQ(OpenSsl("pkey -in private.pem -pubout"), 0);
  EXPECT_EQ(Output(), key.public_key().ToPem());
}

TEST_F(OpensslCliTest, ItsKeysAndRequestsAreReadAndRsaIsRefused) {
  ASSERT_EQ(OpenSsl("ecparam -name prime256v1 -genkey -noout -out sec1.pem"),
            0);
  const auto key = PrivateKey::FromPem(*ReadFile(Path("sec1.pem")));
  EXPECT_TRUE(key.ok()) << key.status();
  ASSERT_EQ(OpenSsl("req -new -key sec1.pem -subj /CN=x -out ec.csr"), 0);
  EXPECT_TRUE(SigningRequest::FromPem(*ReadFile(Path("ec.csr"))).ok());

  ASSERT_EQ(OpenSsl("req -newkey rsa:2048 -nodes -keyout rsa.pem -subj /CN=x "
                    "-out rsa.csr"),
            0);
  EXPECT_TRUE(absl::IsInvalidArgument(
      SigningRequest::FromPem(*ReadFile(Path("rsa.csr"))).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      PrivateKey::FromPem(*ReadFile(Path("rsa.pem"))).status()));
  ASSERT_EQ(OpenSsl("genpkey -algorithm EC -pkeyopt "
                    "ec_paramgen_curve:secp384r1 -out p384.pem"),
            0);
  EXPECT_TRUE(absl::IsInvalidArgument(
      PrivateKey::FromPem(*ReadFile(Path("p384.pem"))).status()));
  ASSERT_EQ(OpenSsl("pkey -in sec1.pem -aes256 -passout pass:x -out "
                    "encrypted.pem"),
            0);
  EXPECT_TRUE(absl::IsInvalidArgument(
      PrivateKey::FromPem(*ReadFile(Path("encrypted.pem"))).status()));
}

}  // namespace
}  // namespace tributary::crypto
