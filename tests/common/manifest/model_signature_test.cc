#include "common/manifest/model_signature.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/crypto/base64.h"
#include "common/crypto/certificate_authority.h"
#include "common/crypto/digest.h"

namespace tributary::manifest {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ModelSignatureTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("model");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    Write("release.json", "{}");
    Write("experts/b.safetensors", "weights of b");
    Write("experts/a.safetensors", "weights of a");
    key_.emplace(*crypto::PrivateKey::Generate());
    ca_.emplace(MakeCa("test"));
    certificate_.emplace(*ca_->Issue(
        key_->public_key(),
        {.common_name = "signer", .uris = {"spiffe://test/signer"}}));
  }

  static crypto::CertificateAuthority MakeCa(const std::string& name) {
    return *crypto::CertificateAuthority::CreateSelfSigned(name, 100'000,
                                                           SystemClock());
  }

  void Write(const std::string& path, const std::string& content) {
    const fs::path file = folder() / path;
    ASSERT_TRUE(MakeDirectories(file.parent_path()).ok());
    ASSERT_TRUE(WriteFileAtomic(file, content).ok());
  }

  fs::path folder() const { return directory_->path() / "model"; }

  StatusOr<std::string> Sign() {
    ModelStatement statement{.name = "model"};
    ASSIGN_OR_RETURN(statement.files,
                     HashModelFiles(folder(), statement.ignored, nullptr));
    return SignModel(
        std::move(statement),
        {.key = *key_, .certificate = *certificate_, .ca = ca_->certificate()});
  }

  std::optional<TemporaryDirectory> directory_;
  std::optional<crypto::PrivateKey> key_;
  std::optional<crypto::CertificateAuthority> ca_;
  std::optional<crypto::Certificate> certificate_;
};

TEST_F(ModelSignatureTest, HoldsForTheFilesThatWereSigned) {
  const auto bundle = Sign();
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  Write(kModelSignatureFile, *bundle);
  const auto statement = OpenModelSignature(*bundle, ca_->certificate());
  ASSERT_TRUE(statement.ok()) << statement.status();
  ASSERT_EQ(statement->files.size(), 3u);
  EXPECT_EQ(statement->files[0].path, "experts/a.safetensors");
  EXPECT_TRUE(CheckModelFiles(*statement, folder(), nullptr).ok());

  Write("experts/c.safetensors", "new");
  EXPECT_THAT(CheckModelFiles(*statement, folder(), nullptr).ToString(),
              HasSubstr("experts/c.safetensors was not signed"));
  fs::remove(folder() / "experts/c.safetensors");
  Write("experts/b.safetensors", "weights of B");
  EXPECT_THAT(CheckModelFiles(*statement, folder(), nullptr).ToString(),
              HasSubstr("experts/b.safetensors has digest"));
  fs::remove(folder() / "experts/b.safetensors");
  EXPECT_THAT(CheckModelFiles(*statement, folder(), nullptr).ToString(),
              HasSubstr("experts/b.safetensors is missing"));
  fs::create_symlink("a.safetensors", folder() / "experts/b.safetensors");
  EXPECT_TRUE(
      absl::IsInvalidArgument(CheckModelFiles(*statement, folder(), nullptr)));
}

// The layout that other programs read, field by field.
TEST_F(ModelSignatureTest, HasTheFormOfTheSpecification) {
  const auto bundle = Json::parse(*Sign());
  EXPECT_EQ(bundle["mediaType"],
            "application/vnd.dev.sigstore.bundle.v0.3+json");
  const auto& chain =
      bundle["verificationMaterial"]["x509CertificateChain"]["certificates"];
  ASSERT_EQ(chain.size(), 2u);
  EXPECT_EQ(*crypto::DecodeBase64(chain[0]["rawBytes"].get<std::string>()),
            certificate_->ToDer());
  EXPECT_EQ(*crypto::DecodeBase64(chain[1]["rawBytes"].get<std::string>()),
            ca_->certificate().ToDer());
  const auto statement = Json::parse(*crypto::DecodeBase64(
      bundle["dsseEnvelope"]["payload"].get<std::string>()));
  EXPECT_EQ(statement["predicateType"], "https://model_signing/signature/v1.0");
  ASSERT_EQ(statement["subject"].size(), 1u);
  EXPECT_EQ(statement["subject"][0]["name"], "model");
  std::string digests;
  for (const char* content : {"weights of a", "weights of b", "{}"}) {
    digests += *crypto::DecodeHex(crypto::Sha256Hex(content));
  }
  EXPECT_EQ(statement["subject"][0]["digest"]["sha256"],
            crypto::Sha256Hex(digests));
  const auto& serialization = statement["predicate"]["serialization"];
  EXPECT_EQ(serialization["method"], "files");
  EXPECT_EQ(serialization["ignore_paths"], Json::array({"model.sig"}));
  EXPECT_EQ(statement["predicate"]["resources"][0],
            (Json{{"algorithm", "sha256"},
                  {"digest", crypto::Sha256Hex("weights of a")},
                  {"name", "experts/a.safetensors"}}));
}

TEST_F(ModelSignatureTest, OthersDoNotPass) {
  const auto bundle = Sign();
  EXPECT_TRUE(absl::IsUnauthenticated(
      OpenModelSignature(*bundle, MakeCa("other").certificate()).status()));
  auto altered = Json::parse(*bundle);
  std::string payload = *crypto::DecodeBase64(
      altered["dsseEnvelope"]["payload"].get<std::string>());
  payload.replace(payload.find("experts/a"), 9, "experts/A");
  altered["dsseEnvelope"]["payload"] = crypto::EncodeBase64(payload);
  EXPECT_TRUE(absl::IsUnauthenticated(
      OpenModelSignature(altered.dump(), ca_->certificate()).status()));
  altered = Json::parse(*bundle);
  altered["verificationMaterial"]["x509CertificateChain"]["certificates"].erase(
      0);
  // The CA did not sign it.
  EXPECT_FALSE(OpenModelSignature(altered.dump(), ca_->certificate()).ok());
  altered["extra"] = 1;
  EXPECT_TRUE(absl::IsInvalidArgument(
      OpenModelSignature(altered.dump(), ca_->certificate()).status()));
}

TEST_F(ModelSignatureTest, RefusesPathsThatAreNotPlain) {
  for (const char* path : {"../x", "/x", "a//b", "a/../b", "", "model.sig"}) {
    const auto bundle = SignModel(
        {.name = "m", .files = {{path, crypto::Sha256Hex("x")}}},
        {.key = *key_, .certificate = *certificate_, .ca = ca_->certificate()});
    EXPECT_TRUE(absl::IsInvalidArgument(bundle.status())) << path;
  }
}

// tests/fixtures/model_signing was signed by the reference program.
TEST(ReferenceModelSignature, IsAccepted) {
  const fs::path fixture =
      fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures/model_signing";
  const auto ca = crypto::Certificate::Load(fixture / "ca.crt.pem");
  ASSERT_TRUE(ca.ok()) << ca.status();
  const auto bundle = ReadFile(fixture / "model" / kModelSignatureFile);
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  const auto statement = OpenModelSignature(*bundle, *ca);
  ASSERT_TRUE(statement.ok()) << statement.status();
  EXPECT_EQ(statement->name, "model");
  EXPECT_EQ(statement->files.size(), 2u);
  EXPECT_TRUE(CheckModelFiles(*statement, fixture / "model", nullptr).ok());
}

}  // namespace
}  // namespace tributary::manifest
