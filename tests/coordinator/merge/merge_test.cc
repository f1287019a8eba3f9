#include "coordinator/merge/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/reader.h"
#include "common/safetensors/writer.h"

namespace tributary::coordinator {
namespace {

using safetensors::DType;

constexpr int64_t kLayers = 3;
constexpr int64_t kHidden = 4;

class MergeTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("merge");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    plan_.anchor = {.name = "anchor",
                    .digest = crypto::Sha256Hex("anchor"),
                    .num_layers = kLayers,
                    .hidden_size = kHidden};
    plan_.anchor.routing.top_k = 2;
  }

  // An expert whose router values all are `value`, with `width` channels in
  // the last layer only.
  MergeExpert Make(const std::string& name, float value, int64_t width = 8) {
    const auto path = directory_->path() / (name + ".safetensors");
    const std::vector<float> row(kHidden, value);
    const std::vector<uint16_t> weights(static_cast<size_t>(width * kHidden),
                                        0x3f80);
    std::vector<safetensors::TensorView> tensors;
    for (int64_t l = 0; l < kLayers; ++l) {
      if (l + 1 == kLayers) {
        tensors.push_back(
            {{model_format::ExpertMlp(l, model_format::MlpPart::kGate),
              DType::kBF16,
              {width, kHidden}},
             std::as_bytes(std::span(weights))});
      }
      tensors.push_back(
          {{model_format::RouterWeight(l), DType::kF32, {kHidden}},
           std::as_bytes(std::span(row))});
      tensors.push_back({{model_format::RouterBias(l), DType::kF32, {}},
                         std::as_bytes(std::span(row).first(1))});
    }
    EXPECT_TRUE(safetensors::WriteFile(path, tensors).ok());
    MergeExpert expert{.file = path};
    manifest::ExpertManifest& manifest = expert.manifest;
    const auto digest = crypto::DigestFile(path);
    manifest.federation = "test";
    manifest.contribution = name;
    manifest.contributor = "owner-" + name;
    manifest.anchor_digest = plan_.anchor.digest;
    manifest.blob = {digest->sha256, digest->size};
    manifest.widths = {0, 0, width};
    manifest.tensors.push_back({.name = "t",
                                .dtype = "F32",
                                .shape = {},
                                .sha256 = crypto::Sha256Hex(name)});
    manifest.router_digest = crypto::Sha256Hex(name);
    manifest.method.recipe = "train";
    manifest.method.importance = "x";
    manifest.method.router_method = "logistic";
    manifest.method.software = "test";
    manifest.approval = {
        .approver = "a", .policy_version = "1", .time_s = 1, .mode = "person"};
    return expert;
  }

  StatusOr<manifest::ReleaseManifest> Run(std::vector<MergeExpert> experts,
                                          const std::string& name) {
    MergePlan plan = plan_;
    plan.experts = std::move(experts);
    return Merge(std::move(plan), directory_->path() / name);
  }

  std::string Bytes(const std::string& name) {
    return *ReadFile(directory_->path() / name);
  }

  std::optional<TemporaryDirectory> directory_;
  MergePlan plan_;
};

TEST_F(MergeTest, IsAFunctionOfTheSetAlone) {
  std::vector<MergeExpert> experts = {Make("a", 1), Make("b", 2), Make("c", 3),
                                      Make("a-2", 4)};
  const auto first = Run(experts, "r0");
  ASSERT_TRUE(first.ok()) << first.status();
  std::vector<std::string> order;
  for (const auto& expert : first->experts) {
    order.push_back(expert.contribution);
  }
  EXPECT_THAT(order, testing::ElementsAre("a", "a-2", "b", "c"));
  const auto by_name = [](const MergeExpert& a, const MergeExpert& b) {
    return a.manifest.contribution < b.manifest.contribution;
  };
  std::sort(experts.begin(), experts.end(), by_name);
  do {
    const auto again = Run(experts, "r1");
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(*again->ToJson(), *first->ToJson());
    EXPECT_EQ(Bytes("r1"), Bytes("r0"));
  } while (std::next_permutation(experts.begin(), experts.end(), by_name));
}

TEST_F(MergeTest, WithdrawnMeansNeverHad) {
  const auto never = Run({Make("a", 1), Make("c", 3)}, "never");
  const auto all = Run({Make("a", 1), Make("b", 2), Make("c", 3)}, "all");
  ASSERT_TRUE(all.ok());
  const auto without = Run({Make("c", 3), Make("a", 1)}, "without");
  EXPECT_EQ(*without->Digest(), *never->Digest());
  EXPECT_NE(*all->Digest(), *never->Digest());
  EXPECT_EQ(Bytes("without"), Bytes("never"));
}

TEST_F(MergeTest, RouterRowsAreThePublicZerosThenTheExpertsBytes) {
  const auto release = Run({Make("b", 2.5f), Make("a", 1.25f, 16)}, "router");
  ASSERT_TRUE(release.ok()) << release.status();
  EXPECT_EQ(release->experts[0].widths, (std::vector<int64_t>{0, 0, 16}));
  const auto file = safetensors::File::Open(directory_->path() / "router");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().size(), 2u * kLayers);
  for (int64_t l = 0; l < kLayers; ++l) {
    EXPECT_THAT(*(*file)->ReadFloats(model_format::RouterWeight(l)),
                testing::ElementsAre(0, 0, 0, 0, 1.25, 1.25, 1.25, 1.25, 2.5,
                                     2.5, 2.5, 2.5));
    EXPECT_THAT(*(*file)->ReadFloats(model_format::RouterBias(l)),
                testing::ElementsAre(0, 1.25, 2.5));
  }
  EXPECT_EQ(release->router_blob.sha256, crypto::Sha256Hex(Bytes("router")));
}

TEST_F(MergeTest, RefusesOtherAnchorsDuplicatesAndMissingRows) {
  MergeExpert stale = Make("a", 1);
  stale.manifest.anchor_digest = crypto::Sha256Hex("other");
  EXPECT_TRUE(absl::IsInvalidArgument(Run({stale}, "r").status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Run({Make("a", 1), Make("a", 1)}, "r").status()));
  MergeExpert bare = Make("a", 1);
  const std::vector<float> row(kHidden, 1);
  ASSERT_TRUE(
      safetensors::WriteFile(
          bare.file, {{{"layers.0.router.weight", DType::kF32, {kHidden}},
                       std::as_bytes(std::span(row))}})
          .ok());
  const Status status = Run({bare}, "r").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("layers.0.router.bias"));
  EXPECT_FALSE(std::filesystem::exists(directory_->path() / "r"));
  EXPECT_TRUE(absl::IsNotFound(
      Run({{.manifest = Make("b", 1).manifest, .file = "none"}}, "r")
          .status()));
}

TEST_F(MergeTest, AnchorsAreReadFromTheirFolder) {
  manifest::AnchorManifest anchor;
  anchor.name = "anchor";
  anchor.files = {{"config.json", {crypto::Sha256Hex("{}"), 2}}};
  anchor.model = {.model_type = "llama",
                  .num_layers = kLayers,
                  .hidden_size = kHidden,
                  .intermediate_size = 16,
                  .vocab_size = 10,
                  .block = 16};
  anchor.expert_policy = {.first_layer = 0,
                          .max_width = 16,
                          .top_k = 2,
                          .renormalise = true,
                          .window_tokens = 16,
                          .windows_per_class = 1,
                          .heldout_windows = 1,
                          .sample_stride = 1};
  const auto json = anchor.ToJson();
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_TRUE(absl::IsNotFound(
      ReadMergeAnchor(directory_->path() / "anchor", "discriminant").status()));
  ASSERT_TRUE(MakeDirectories(directory_->path() / "anchor").ok());
  ASSERT_TRUE(
      WriteFileAtomic(directory_->path() / "anchor/anchor.json", *json).ok());
  const auto read =
      ReadMergeAnchor(directory_->path() / "anchor", "discriminant");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->digest, *anchor.Digest());
  EXPECT_EQ(read->routing.top_k, 2);
}

}  // namespace
}  // namespace tributary::coordinator
