#include "common/manifest/release_manifest.h"

#include <gtest/gtest.h>

#include <string>

#include "common/crypto/digest.h"
#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

ReleaseStatement SampleStatement() {
  return {.release = "releases/3",
          .manifest_digest = *SampleRelease().Digest(),
          .previous_release = "releases/2",
          .create_time_s = 1'900'000'000,
          .evaluation = {{.text_label = "public",
                          .model = "anchor",
                          .log_loss = 3.5,
                          .tokens = 4080}}};
}

TEST(ReleaseManifest, HasTheseBytes) {
  ReleaseManifest manifest = SampleRelease();
  manifest.experts.resize(1);
  const std::string json = *manifest.ToJson();
  EXPECT_EQ(json, R"({"anchor":{"digest":")" + Hex('a') +
                      R"(","name":"small"},"experts":[)"
                      R"({"blob":"blobs/sha256/)" +
                      Hex('b') +
                      R"(/4096","contribution":"german",)"
                      R"("contributor":"site-a","manifest_digest":")" +
                      Hex('c') +
                      R"(","widths":[0,8]}],"router_blob":"blobs/sha256/)" +
                      Hex('f') +
                      R"(/1024","routing":{"bias":"rows",)"
                      R"("mode":"discriminant","renormalise":true,"top_k":2},)"
                      R"("type":"urn:tributary:release-manifest:v1"})");
  EXPECT_EQ(*manifest.Digest(), crypto::Sha256Hex(json));
}

TEST(ReleaseManifest, ListsWhatMadeTheRows) {
  ReleaseManifest manifest = SampleRelease();
  manifest.routing.mode = "ridge";
  manifest.routing.settings = {{"lambda", 1e-3}, {"temperature", 10}};
  const std::string json = *manifest.ToJson();
  EXPECT_NE(json.find(R"("settings":{"lambda":0.001,"temperature":10.0})"),
            std::string::npos)
      << json;
  EXPECT_EQ(*ReleaseManifest::FromJson(json), manifest);
  manifest.routing.settings = {{"colour", 1}};
  EXPECT_FALSE(manifest.ToJson().ok());
  const auto replace = [&](const std::string& settings) {
    std::string changed = json;
    const std::string old = R"({"lambda":0.001,"temperature":10.0})";
    return changed.replace(changed.find(old), old.size(), settings);
  };
  EXPECT_TRUE(ReleaseManifest::FromJson(replace(R"({"lambda":0.5})")).ok());
  EXPECT_FALSE(ReleaseManifest::FromJson(replace("{}")).ok());
  EXPECT_FALSE(ReleaseManifest::FromJson(replace(R"({"lambda":-1.0})")).ok());
  EXPECT_FALSE(ReleaseManifest::FromJson(replace(R"({"lambda":"x"})")).ok());
}

TEST(ReleaseManifest, NamesTheFieldThatIsWrong) {
  ExpectStrict(
      SampleRelease(),
      {
          {"/experts/1/contribution", "\"german\"", "wanted contributions in"},
          {"/experts/1/contribution", "\"a\"", "wanted contributions in"},
          {"/experts/1/widths", "[0]", "experts: got 1 widths for \"maths\""},
          {"/experts/0/widths/1", "-8", "experts[0].widths[1]: got -8"},
          {"/experts/0/blob", "7", "experts[0].blob: got 7, wanted a string"},
          {"/experts/0/x", "7", "experts[0].x: unknown field"},
          {"/anchor/digest", "\"\"", "anchor.digest: got \"\""},
          {"/routing/top_k", "0", "routing.top_k: got 0, wanted 1 to"},
          {"/routing/mode", "\"\"", "routing.mode: got 0 bytes"},
          {"/router_blob", "", "router_blob: the field is missing"},
          {"/create_time_s", "1", "create_time_s: unknown field"},
      });
}

TEST(ReleaseManifest, MayBeTheAnchorAlone) {
  ReleaseManifest manifest = SampleRelease();
  manifest.experts.clear();
  EXPECT_TRUE(manifest.ToJson().ok());
}

TEST(ReleaseStatement, NamesTheFieldThatIsWrong) {
  ExpectStrict(
      SampleStatement(),
      {
          {"/release", "\"releases/0\"", "release: got \"releases/0\""},
          {"/release", "\"releases/latest\"", "release: got"},
          {"/previous_release", "\"2\"", "previous_release: got \"2\""},
          {"/previous_release", "null", "previous_release: got null"},
          {"/create_time_s", "-1", "create_time_s: got -1"},
          {"/evaluation/0/tokens", "-1", "evaluation[0].tokens: got -1"},
          {"/evaluation/0/log_loss", "null", "evaluation[0].log_loss: got nu"},
          {"/extra", "1", "release statement: extra: unknown field"},
      });
  ReleaseStatement first = SampleStatement();
  first.previous_release = "";
  EXPECT_TRUE(first.ToJson().ok());
}

TEST(ReleaseStatement, IsSigned) {
  const auto key = *crypto::PrivateKey::Generate();
  const auto envelope = SignRelease(SampleStatement(), key);
  ASSERT_TRUE(envelope.ok()) << envelope.status();
  const auto opened = OpenRelease(*envelope, key.public_key());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened, SampleStatement());
}

}  // namespace
}  // namespace tributary::manifest
