// A third party verifies a signed manifest with the openssl command alone: the
// certificate's chain, the signature over the envelope's encoding, and the
// digest that the statement names.

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/crypto/base64.h"
#include "common/crypto/certificate_authority.h"
#include "common/crypto/digest.h"
#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

TEST(VerifyWithOpenssl, AnExpertManifest) {
  const auto directory = *TemporaryDirectory::Create("verify");
  const auto path = [&](const char* name) { return directory.path() / name; };
  const auto openssl = [&](const std::string& arguments) {
    return std::system(("cd '" + directory.path().string() + "' && openssl " +
                        arguments + " > out 2>&1")
                           .c_str());
  };

  const auto ca = *crypto::CertificateAuthority::CreateSelfSigned(
      "federation", 3650 * crypto::kDaySeconds, SystemClock());
  const auto key = *crypto::PrivateKey::Generate();
  const auto certificate = *ca.Issue(
      key.public_key(), {.common_name = "site-a",
                         .uris = {"spiffe://federation/contributor/site-a"},
                         .usages = {crypto::KeyUsage::kClient}});
  const std::string expert = "the bytes of an expert file";
  ExpertManifest manifest = SampleExpert();
  manifest.blob = {.sha256 = crypto::Sha256Hex(expert), .size = expert.size()};
  const std::string envelope_json = *SignExpertManifest(manifest, key);

  // From here on as somebody who has only files and the format's description.
  const auto envelope = nlohmann::json::parse(envelope_json);
  const std::string type = envelope["payloadType"];
  const std::string payload =
      *crypto::DecodeBase64(envelope["payload"].get_ref<const std::string&>());
  const std::string signature = *crypto::DecodeBase64(
      envelope["signatures"][0]["sig"].get_ref<const std::string&>());
  const std::string message = "DSSEv1 " + std::to_string(type.size()) + " " +
                              type + " " + std::to_string(payload.size()) +
                              " " + payload;
  ASSERT_TRUE(WriteFileAtomic(path("ca.pem"), ca.certificate().ToPem()).ok());
  ASSERT_TRUE(WriteFileAtomic(path("site.pem"), certificate.ToPem()).ok());
  ASSERT_TRUE(WriteFileAtomic(path("message"), message).ok());
  ASSERT_TRUE(WriteFileAtomic(path("signature"), signature).ok());
  ASSERT_TRUE(WriteFileAtomic(path("expert.safetensors"), expert).ok());
  EXPECT_EQ(openssl("verify -x509_strict -CAfile ca.pem site.pem"), 0)
      << *ReadFile(path("out"));
  ASSERT_EQ(openssl("x509 -in site.pem -noout -pubkey -out key.pem"), 0);
  EXPECT_EQ(
      openssl("dgst -sha256 -verify key.pem -signature signature message"), 0)
      << *ReadFile(path("out"));
  ASSERT_EQ(openssl("dgst -sha256 -r expert.safetensors"), 0);
  const auto statement = nlohmann::json::parse(payload);
  EXPECT_EQ(ReadFile(path("out"))->substr(0, 64),
            statement["subject"][0]["digest"]["sha256"]);
  EXPECT_EQ(statement["subject"][0]["name"], "german");
}

}  // namespace
}  // namespace tributary::manifest
