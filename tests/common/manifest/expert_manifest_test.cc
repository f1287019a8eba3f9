#include "common/manifest/expert_manifest.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "common/crypto/digest.h"
#include "common/manifest/statement.h"
#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

TEST(ExpertManifest, HasTheseBytes) {
  const std::string json = *SampleExpert().ToJson();
  EXPECT_EQ(
      json,
      R"({"anchor_digest":")" + Hex('a') +
          R"(","approval":{"approver":"Zoë","mode":"person",)"
          R"("policy_version":"1","time_s":1900000000},)"
          R"("blob":"blobs/sha256/)" +
          Hex('b') +
          R"(/4096","contribution":"german","contributor":"site-a",)"
          R"("federation":"federation","method":{"documents":12,"epochs":2,)"
          R"("folded":true,"heldout_log_loss_anchor":4.0,)"
          R"("heldout_log_loss_own":3.1,"importance":"activation",)"
          R"("learning_rate":0.001,"recipe":"train",)"
          R"("router_method":"logistic","seed":18446744073709551615,)"
          R"("software":"tributary 0.1.0","steps":40,"teacher":"",)"
          R"("text_share":1.0,"tokens":10240,"train_loss_first":4.5,)"
          R"("train_loss_last":3.25},"privacy":{"differential_privacy":"none",)"
          R"("minimum_documents":8},"router_digest":")" +
          Hex('e') +
          R"(","tensors":[{"dtype":"BF16","name":"layers.1.gate_proj.weight",)"
          R"("sha256":")" +
          Hex('c') +
          R"(","shape":[8,16]},{"dtype":"F32","name":"layers.1.router.bias",)"
          R"("sha256":")" +
          Hex('d') +
          R"(","shape":[]}],"type":"urn:tributary:expert-manifest:v1",)"
          R"("widths":[0,8]})");
  EXPECT_EQ(*SampleExpert().Digest(), crypto::Sha256Hex(json));
}

TEST(ExpertManifest, NamesStatisticsWhereThereAreSome) {
  ExpertManifest manifest = SampleExpert();
  EXPECT_EQ(manifest.ToJson()->find("router_statistics"), std::string::npos);
  manifest.router_statistics = BlobName{Hex('9'), 77};
  const std::string json = *manifest.ToJson();
  EXPECT_NE(
      json.find("\"router_statistics\":\"blobs/sha256/" + Hex('9') + "/77\""),
      std::string::npos);
  EXPECT_EQ(*ExpertManifest::FromJson(json), manifest);
  // Not the expert file itself.
  manifest.router_statistics = manifest.blob;
  EXPECT_FALSE(manifest.ToJson().ok());
}

TEST(ExpertManifest, NamesTheFieldThatIsWrong) {
  ExpectStrict(
      SampleExpert(),
      {
          {"/widths/1", "-1",
           "expert manifest: widths[1]: got -1, wanted 0 or more"},
          {"/widths/1", "18446744073709551615", "widths[1]: got 1844"},
          {"/widths", "[]", "widths: got 0 elements"},
          {"/widths", "3", "widths: got 3, wanted a list"},
          {"/federation", "\"a b\"", "federation: got \"a b\""},
          {"/contribution", "\"-a\"", "contribution: got \"-a\""},
          {"/contributor", "null", "contributor: got null, wanted a string"},
          {"/anchor_digest", "\"AB\"", "anchor_digest: got \"AB\""},
          {"/blob", "\"blobs/sha256/aa/1\"", "blob: blob name: got"},
          {"/tensors", "[]", "tensors: got 0 elements"},
          {"/tensors/0/shape/1", "-2", "tensors[0].shape[1]: got -2"},
          {"/tensors/0/shape", "[1,1,1,1,1,1,1,1,1]", "shape: got 9 elements"},
          {"/tensors/1/name", "\"layers.1.gate_proj.weight\"",
           "tensors[1].name: got \"layers.1.gate_proj.weight\" a second"},
          {"/tensors/0/extra", "1", "tensors[0].extra: unknown field"},
          {"/router_digest", "\"\"", "router_digest: got \"\""},
          {"/method/seed", "-1", "method.seed: got -1"},
          {"/method/text_share", "1.5", "method.text_share: got 1.5, wanted"},
          {"/method/train_loss_last", "\"nan\"", "train_loss_last: got a str"},
          {"/method/train_loss_last", "-0.5", "train_loss_last: got -0.5"},
          {"/method/steps", "", "method.steps: the field is missing"},
          {"/method/software", "\"\"", "method.software: got 0 bytes"},
          {"/privacy/minimum_documents", "-1", "minimum_documents: got -1"},
          {"/approval/mode", "\"x\"", "approval.mode: got \"x\", wanted"},
          {"/approval/approver", "\"\"", "approval.approver: got 0 bytes"},
          {"/model", "{}", "expert manifest: model: unknown field"},
          // The same number in another spelling.
          {"/method/text_share", "1", "not in canonical form"},
      });
}

TEST(ExpertManifest, IsBounded) {
  const std::string large(5 << 20, ' ');
  EXPECT_TRUE(
      absl::IsInvalidArgument(ExpertManifest::FromJson(large).status()));
  std::string deep(100, '[');
  EXPECT_THAT(std::string(ExpertManifest::FromJson(deep).status().message()),
              testing::HasSubstr("deeper"));
  ExpertManifest manifest = SampleExpert();
  manifest.widths.assign(2000, 0);
  EXPECT_TRUE(absl::IsInvalidArgument(manifest.ToJson().status()));
}

TEST(ExpertManifest, RefusesNumbersThatJsonCannotHold) {
  for (const double number : {std::nan(""), HUGE_VAL}) {
    ExpertManifest manifest = SampleExpert();
    manifest.method.train_loss_last = number;
    EXPECT_TRUE(absl::IsInvalidArgument(manifest.ToJson().status()));
  }
}

TEST(ExpertManifest, IsSignedUnderItsOwnName) {
  const auto key = *crypto::PrivateKey::Generate();
  const auto envelope = SignExpertManifest(SampleExpert(), key);
  ASSERT_TRUE(envelope.ok()) << envelope.status();
  const auto opened = OpenExpertManifest(*envelope, key.public_key());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened, SampleExpert());
  EXPECT_EQ(*ReadExpertManifestUnverified(*envelope), SampleExpert());

  // A statement about another name or blob does not carry it.
  const Statement replay{
      .kind = std::string(kExpertKind),
      .subjects = {{.name = "other", .sha256 = SampleExpert().blob.sha256}},
      .predicate_json = *SampleExpert().ToJson()};
  const Status status =
      OpenExpertManifest(*SignStatement(replay, key), key.public_key())
          .status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("statement: subject"));

  const auto other = *crypto::PrivateKey::Generate();
  EXPECT_TRUE(absl::IsUnauthenticated(
      OpenExpertManifest(*envelope, other.public_key()).status()));
}

}  // namespace
}  // namespace tributary::manifest
