#include "common/manifest/expert_file_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/model_format/expert_layout.h"
#include "common/safetensors/writer.h"
#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

using testing::HasSubstr;

class ExpertFileCheckTest : public testing::Test {
 protected:
  ExpertFileCheckTest()
      : directory_(*TemporaryDirectory::Create("expert_file_check")) {}

  void SetUp() override {
    model_format::ModelConfig config;
    config.hidden_size = anchor_.model.hidden_size;
    config.intermediate_size = anchor_.model.intermediate_size;
    config.num_layers = anchor_.model.num_layers;
    const auto tensors =
        model_format::ExpertTensors(config, {.widths = {0, 64, 0}});
    ASSERT_TRUE(tensors.ok()) << tensors.status();
    const auto path = directory_.path() / "expert.safetensors";
    const auto writer = safetensors::Writer::Create(path, *tensors);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (const safetensors::TensorSpec& tensor : *tensors) {
      std::string bytes(*safetensors::TensorBytes(tensor), '\0');
      for (char& byte : bytes) {
        byte = next_++;
      }
      ASSERT_TRUE((*writer)->Append(std::as_bytes(std::span(bytes))).ok());
      if (tensor.name.find("router") != std::string::npos) {
        router_bytes_ += bytes;
      }
    }
    ASSERT_TRUE((*writer)->Finish().ok());
    const auto file = safetensors::File::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *file;
    const auto facts = DescribeExpertFile(*file_);
    ASSERT_TRUE(facts.ok()) << facts.status();
    const auto digest = *crypto::DigestFile(path);
    manifest_ = SampleExpert();
    manifest_.anchor_digest = *anchor_.Digest();
    manifest_.blob = {.sha256 = digest.sha256, .size = digest.size};
    manifest_.widths = {0, 64, 0};
    manifest_.tensors = facts->tensors;
    manifest_.router_digest = facts->router_digest;
    ASSERT_TRUE(manifest_.ToJson().ok());
  }

  // The error of both checks after a change of the manifest.
  std::string AnchorError(
      const std::function<void(ExpertManifest&)>& change) const {
    ExpertManifest changed = manifest_;
    change(changed);
    return std::string(CheckExpertForAnchor(changed, anchor_).message());
  }
  std::string FileError(
      const std::function<void(ExpertManifest&)>& change) const {
    ExpertManifest changed = manifest_;
    change(changed);
    return std::string(CheckExpertFile(changed, *file_).message());
  }

  const TemporaryDirectory directory_;
  const AnchorManifest anchor_ = SampleAnchor();
  char next_ = 0;
  std::string router_bytes_;
  std::shared_ptr<const safetensors::File> file_;
  ExpertManifest manifest_;
};

TEST_F(ExpertFileCheckTest, DescribesAFileThatThenMatches) {
  EXPECT_EQ(manifest_.tensors.size(), 9u);
  EXPECT_EQ(manifest_.router_digest, crypto::Sha256Hex(router_bytes_));
  const Status anchor = CheckExpertForAnchor(manifest_, anchor_);
  EXPECT_TRUE(anchor.ok()) << anchor;
  EXPECT_TRUE(CheckExpertHeader(manifest_, file_->tensors()).ok());
  const Status file = CheckExpertFile(manifest_, *file_);
  EXPECT_TRUE(file.ok()) << file;
  CancellationToken cancelled;
  cancelled.Cancel();
  EXPECT_TRUE(
      absl::IsCancelled(CheckExpertFile(manifest_, *file_, &cancelled)));
}

TEST_F(ExpertFileCheckTest, ComparesWithTheAnchor) {
  ExpertManifest stale = manifest_;
  stale.anchor_digest = Hex('0');
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckExpertForAnchor(stale, anchor_)));
  EXPECT_THAT(AnchorError([](auto& m) { m.widths.pop_back(); }),
              HasSubstr("widths: got 2, wanted 3, one per layer"));
  EXPECT_THAT(AnchorError([](auto& m) { m.widths[0] = 64; }),
              HasSubstr("widths[0]: got 64, wanted 0: experts begin at"));
  EXPECT_THAT(AnchorError([](auto& m) { m.widths[1] = 128; }),
              HasSubstr("widths[1]: got 128, wanted a multiple of 64 up to"));
  EXPECT_THAT(AnchorError([](auto& m) { m.widths[1] = 8; }),
              HasSubstr("widths[1]: got 8, wanted a multiple of 64"));
  EXPECT_THAT(AnchorError([](auto& m) { m.widths[1] = 0; }),
              HasSubstr("widths: got 0 in every layer"));
  EXPECT_THAT(AnchorError([](auto& m) { m.widths[2] = 64; }),
              HasSubstr("as the widths imply"));
  EXPECT_THAT(AnchorError([](auto& m) { m.tensors[0].dtype = "F16"; }),
              HasSubstr("tensors[0]"));
  EXPECT_THAT(AnchorError([](auto& m) { m.tensors.pop_back(); }),
              HasSubstr("tensors: got 8, wanted 9"));
  EXPECT_THAT(AnchorError([](auto& m) { m.blob.size = 100; }),
              HasSubstr("blob: got a size of 100 bytes"));
  EXPECT_THAT(AnchorError([](auto& m) { m.blob.size = 1 << 30; }),
              HasSubstr("blob: got a size of 1073741824 bytes"));
}

TEST_F(ExpertFileCheckTest, ComparesWithTheFile) {
  EXPECT_THAT(FileError([](auto& m) { std::swap(m.tensors[0], m.tensors[1]); }),
              HasSubstr("tensors[0].name: got \"layers.0.router.bias\""));
  EXPECT_THAT(FileError([](auto& m) {
                m.tensors[2].shape = {64, 17};
              }),
              HasSubstr("got BF16 [64, 17], wanted BF16 [64, 16] as in the"));
  EXPECT_THAT(FileError([](auto& m) { m.tensors.push_back(m.tensors[0]); }),
              HasSubstr("tensors: got 10, wanted 9"));
  EXPECT_THAT(FileError([](auto& m) { m.tensors[3].sha256 = Hex('0'); }),
              HasSubstr("tensors[3] \"layers.1.up_proj.weight\": got sha256"));
  EXPECT_THAT(FileError([](auto& m) { m.router_digest = Hex('0'); }),
              HasSubstr("router_digest: got"));
  EXPECT_THAT(FileError([](auto& m) { ++m.blob.size; }),
              HasSubstr("blob: got a size of"));
}

TEST_F(ExpertFileCheckTest, NeedsCompleteRouterRows) {
  const auto path = directory_.path() / "half.safetensors";
  const auto writer = safetensors::Writer::Create(
      path, {{"layers.0.router.weight", safetensors::DType::kF32, {1}}});
  ASSERT_TRUE((*writer)->Append(std::as_bytes(std::span("abc"))).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  const Status status =
      DescribeExpertFile(**safetensors::File::Open(path)).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("layer 0 has no complete router row"));
}

}  // namespace
}  // namespace tributary::manifest
