#include "common/manifest/anchor_manifest.h"

#include <gtest/gtest.h>

#include <string>

#include "common/crypto/digest.h"
#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

TEST(AnchorManifest, HasTheseBytes) {
  const std::string json = *SampleAnchor().ToJson();
  EXPECT_EQ(
      json,
      R"({"expert_policy":{"first_layer":1,"heldout_windows":16,)"
      R"("max_width":64,"renormalise":true,"sample_stride":2,"top_k":2,)"
      R"("window_tokens":256,"windows_per_class":12},"files":[)"
      R"({"blob":"blobs/sha256/)" +
          Hex('1') + R"(/500","path":"config.json"},{"blob":"blobs/sha256/)" +
          Hex('2') +
          R"(/100000","path":"model.safetensors"},{"blob":"blobs/sha256/)" +
          Hex('3') +
          R"(/2000","path":"public/text/prose.jsonl"}],"model":{"block":64,)"
          R"("hidden_size":16,"intermediate_size":64,"model_type":"llama",)"
          R"("num_layers":3,"vocab_size":300},"name":"small","public_text":[)"
          R"({"class":"prose","path":"public/text/prose.jsonl"}],)"
          R"("type":"urn:tributary:anchor-manifest:v1"})");
  EXPECT_EQ(*SampleAnchor().Digest(), crypto::Sha256Hex(json));
}

TEST(AnchorManifest, NamesTheFieldThatIsWrong) {
  ExpectStrict(
      SampleAnchor(),
      {
          {"/extra", "1", "anchor manifest: extra: unknown field"},
          {"/model/extra", "1", "anchor manifest: model.extra: unknown field"},
          {"/name", "", "anchor manifest: name: the field is missing"},
          {"/name", "\"A\"", "anchor manifest: name: got \"A\""},
          {"/type", "\"x\"", "type: got \"x\", wanted \"urn:tributary:anchor"},
          {"/files", "[]", "files: got 0 elements, wanted 1 to"},
          {"/files", "{}", "files: got an object, wanted a list"},
          {"/files/0", "3", "files[0]: got 3, wanted an object"},
          {"/files/0/blob", "\"x\"", "files[0].blob: blob name: got \"x\""},
          {"/files/1/path", "\"config.json\"", "wanted paths in bytewise"},
          {"/files/1/path", "\"a\"", "wanted paths in bytewise order"},
          {"/files/1/path", "\"config.json/a\"", "both a file and a folder"},
          {"/model/num_layers", "0", "model.num_layers: got 0, wanted 1 to"},
          {"/model/num_layers", "\"3\"", "got a string, wanted an integer"},
          {"/model/num_layers", "3.5", "model.num_layers: got 3.5, wanted an"},
          {"/expert_policy/first_layer", "3", "got 3, wanted 0 to 2"},
          {"/expert_policy/renormalise", "1", "got 1, wanted true or false"},
          {"/expert_policy/top_k", "18446744073709551615", "wanted 1 to 1024"},
          {"/public_text/0/path", "\"x\"", "wanted the path of one of the"},
          {"/public_text/0/class", "\"\"", "public_text[0].class: got \"\""},
      });
}

TEST(AnchorManifest, RefusesPathsThatLeaveTheFolder) {
  const std::string json = *SampleAnchor().ToJson();
  for (const char* path :
       {"/config.json", "..", "../a", "a/../b", "a/./b", "a//b", "a/", "",
        "a\\\\b", "a\\u0000b", "a\\nb", "c:a"}) {
    const Status status =
        AnchorManifest::FromJson(
            Edit(json, "/files/0/path", "\"" + std::string(path) + "\""))
            .status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << path;
    EXPECT_THAT(std::string(status.message()),
                testing::HasSubstr("files[0].path: got"))
        << path;
  }
}

TEST(AnchorManifest, DoesNotWriteWhatItWouldNotRead) {
  AnchorManifest manifest = SampleAnchor();
  manifest.files[0].path = "../config.json";
  EXPECT_TRUE(absl::IsInvalidArgument(manifest.ToJson().status()));
  manifest = SampleAnchor();
  manifest.model.model_type = "\xff";
  EXPECT_TRUE(absl::IsInvalidArgument(manifest.ToJson().status()));
}

TEST(AnchorManifest, IsSigned) {
  const auto key = *crypto::PrivateKey::Generate();
  const auto envelope = SignAnchorManifest(SampleAnchor(), key);
  ASSERT_TRUE(envelope.ok()) << envelope.status();
  const auto opened = OpenAnchorManifest(*envelope, key.public_key());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened, SampleAnchor());
  const auto other = *crypto::PrivateKey::Generate();
  EXPECT_TRUE(absl::IsUnauthenticated(
      OpenAnchorManifest(*envelope, other.public_key()).status()));
}

}  // namespace
}  // namespace tributary::manifest
