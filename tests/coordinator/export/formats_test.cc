// Shards, GGUF files and mixtures taken apart.

#include <gmock/gmock.h>

#include <fstream>

#include "coordinator/export/export_gguf.h"
#include "coordinator/export/gguf_file.h"
#include "coordinator/export/gguf_layout.h"
#include "coordinator/export/gguf_restore.h"
#include "coordinator/export/split_mixture.h"
#include "coordinator/export/weight_files.h"
#include "tests/coordinator/export/export_fixture.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using safetensors::DType;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FormatsTest : public ExportFixture {
 protected:
  void MakeRelease() const {
    ASSERT_TRUE(WriteRelease(
                    model::TinyAnchor(),
                    Experts(TinyConfig(), {{0, 128, 384, 0}, {0, 0, 128, 256}}),
                    /*renormalise=*/true, Path("release"))
                    .ok());
  }
};

TEST(WeightFilesTest, TensorsFillFilesInOrder) {
  const std::vector<safetensors::TensorSpec> tensors = {
      {"a", DType::kF32, {10}},
      {"b", DType::kF32, {30}},  // larger than a file may be
      {"c", DType::kF32, {5}},
      {"d", DType::kF32, {5}}};
  const auto files = PlanWeightFiles(tensors, 80);
  ASSERT_TRUE(files.ok());
  ASSERT_EQ(files->size(), 3u);
  EXPECT_THAT((*files)[0].tensors, ElementsAre(0));
  EXPECT_THAT((*files)[1].tensors, ElementsAre(1));
  EXPECT_THAT((*files)[2].tensors, ElementsAre(2, 3));
  EXPECT_EQ((*files)[1].name, "model-00002-of-00003.safetensors");
  const auto one = PlanWeightFiles(tensors, kDefaultShardBytes);
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ((*one)[0].name, "model.safetensors");
  EXPECT_EQ((*one)[0].bytes, 200u);
}

TEST_F(FormatsTest, ShardsLoadLikeOneFile) {
  MakeRelease();
  const auto result = ExportHuggingFace({.release_directory = Path("release"),
                                         .output = Path("shards"),
                                         .shard_bytes = 1'000'000,
                                         .readme = "# card\n"});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->weight_files, 3);
  EXPECT_EQ(*ReadFile(Path("shards") / "README.md"), "# card\n");
  EXPECT_FALSE(fs::exists(Path("shards") / "model.safetensors"));
  const auto index =
      ParseJson(*ReadFile(Path("shards") / "model.safetensors.index.json"));
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ((*index)["metadata"]["total_size"], result->weight_bytes);
  const auto whole = ExportHuggingFace(
      {.release_directory = Path("release"), .output = Path("whole")});
  ASSERT_TRUE(whole.ok()) << whole.status();
  const auto a = model_format::HfDirectory::Open(Path("shards"));
  const auto b = model_format::HfDirectory::Open(Path("whole"));
  ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
  for (const auto& parameter : model_format::ModelParameters((*a)->config())) {
    const auto mine = (*a)->Find(parameter.name);
    const auto other = (*b)->Find(parameter.name);
    EXPECT_TRUE(std::ranges::equal(mine->bytes(), other->bytes()))
        << parameter.name;
  }
}

TEST_F(FormatsTest, GgufHoldsTheReleaseAndComesBack) {
  MakeRelease();
  const auto result = ExportGguf({.release_directory = Path("release"),
                                  .output = Path("model.gguf"),
                                  .name = "tiny"});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->experts, 3);
  EXPECT_LT(result->max_logit_difference, 1e-3);
  EXPECT_EQ(result->file_bytes, fs::file_size(Path("model.gguf")));
  EXPECT_FALSE(fs::exists(Path("model.gguf.check.partial")));
  const auto file = gguf::File::Open(Path("model.gguf"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*(*file)->Get<uint32_t>("llama.expert_count"), 3u);
  EXPECT_EQ(*(*file)->Get<uint32_t>("llama.expert_used_count"), 2u);
  EXPECT_EQ(*(*file)->Get<std::string>("tokenizer.ggml.pre"), "smollm");
  EXPECT_EQ(
      (*file)->Get<std::vector<std::string>>("tokenizer.ggml.tokens")->size(),
      2048u);
  EXPECT_THAT((*file)->Find("blk.2.ffn_down_exps.weight")->shape,
              ElementsAre(3, 128, 384));
  EXPECT_EQ(ExportGguf({.release_directory = Path("release"),
                        .output = Path("model.gguf")})
                .status()
                .code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(FormatsTest, GgufRefusesWhatLlamaCppCannotCompute) {
  ASSERT_TRUE(WriteRelease(model::TinyAnchor(),
                           Experts(TinyConfig(), {{0, 128, 0, 0}}),
                           /*renormalise=*/false, Path("plain"))
                  .ok());
  EXPECT_THAT(
      ExportGguf({.release_directory = Path("plain"), .output = Path("x.gguf")})
          .status()
          .ToString(),
      HasSubstr("renormalise"));
  ASSERT_TRUE(WriteRelease(model::TinyAnchor(), {}, true, Path("empty")).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      ExportGguf({.release_directory = Path("empty"), .output = Path("x.gguf")})
          .status()));
  EXPECT_FALSE(fs::exists(Path("x.gguf")));
  EXPECT_FALSE(fs::exists(Path("x.gguf.partial")));
}

TEST_F(FormatsTest, DamagedGgufFilesAreErrors) {
  gguf::Metadata metadata = {{"general.architecture", std::string("llama")},
                             {"a", uint32_t{1}},
                             {"b", std::vector<std::string>{"x", "yy"}},
                             {"c", std::vector<int32_t>{1, 2}},
                             {"d", 0.5f},
                             {"e", true}};
  auto writer = gguf::Writer::Create(
      Path("small.gguf"), metadata,
      {{.name = "t", .type = gguf::Type::kF32, .shape = {2, 4}}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  const std::vector<float> values = {1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_TRUE(absl::IsFailedPrecondition((*writer)->Finish()));
  ASSERT_TRUE((*writer)->Append(std::as_bytes(std::span(values))).ok());
  EXPECT_TRUE(
      absl::IsOutOfRange((*writer)->Append(std::as_bytes(std::span(values)))));
  ASSERT_TRUE((*writer)->Finish().ok());
  const std::string good = *ReadFile(Path("small.gguf"));
  {
    const auto file = gguf::File::Open(Path("small.gguf"));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_THAT((*file)->Find("t")->shape, ElementsAre(2, 4));
    EXPECT_THAT(*(*file)->Get<std::vector<std::string>>("b"),
                ElementsAre("x", "yy"));
    EXPECT_EQ(*(*file)->Get<float>("d"), 0.5f);
    EXPECT_EQ((*file)->Get<uint32_t>("d"), nullptr);
  }
  // Cut anywhere or with any byte changed: an error or a file, never a crash.
  for (size_t i = 0; i < good.size(); ++i) {
    std::ofstream(Path("bad.gguf")) << good.substr(0, i);
    EXPECT_FALSE(gguf::File::Open(Path("bad.gguf")).ok()) << i;
    std::string flipped = good;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x7f);
    std::ofstream(Path("bad.gguf")) << flipped;
    const auto file = gguf::File::Open(Path("bad.gguf"));
    if (file.ok() && (*file)->tensors().size() == 1) {
      EXPECT_LE((*file)->Bytes((*file)->tensors()[0]).size(), good.size());
    }
  }
  ASSERT_TRUE(MakeDirectories(Path("back")).ok());
  EXPECT_THAT(RestoreGguf(Path("small.gguf"), {}, Path("back")).ToString(),
              HasSubstr("llama."));
}

TEST_F(FormatsTest, RowsChangePlacesAndBack) {
  for (int64_t row = 0; row < 3 * 16; ++row) {
    const int64_t stored = PermutedRow(row, 16, /*to_gguf=*/true);
    EXPECT_EQ(PermutedRow(stored, 16, /*to_gguf=*/false), row);
  }
  // The second row of a head is the partner of the first.
  EXPECT_EQ(PermutedRow(1, 16, true), 8);
}

TEST_F(FormatsTest, AMixtureBecomesAReleaseAndAgainTheMixture) {
  MakeRelease();
  ASSERT_TRUE(ExportHuggingFace({.release_directory = Path("release"),
                                 .output = Path("mixture")})
                  .ok());
  const auto split = SplitMixture({.model_directory = Path("mixture"),
                                   .output = Path("imported"),
                                   .name = "import"});
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->experts, 2);
  EXPECT_FALSE(split->rounded);
  EXPECT_LT(split->max_logit_difference, 1e-3);
  const auto again = ExportHuggingFace(
      {.release_directory = Path("imported"), .output = Path("again")});
  ASSERT_TRUE(again.ok()) << again.status();
  // The public row of a release is zero, so every tensor is the same again.
  EXPECT_EQ(*ReadFile(Path("again") / "model.safetensors"),
            *ReadFile(Path("mixture") / "model.safetensors"));
  EXPECT_THAT(SplitMixture({.model_directory = model::TinyAnchor(),
                            .output = Path("dense"),
                            .name = "x"})
                  .status()
                  .ToString(),
              HasSubstr("wanted a mixture"));
}

}  // namespace
}  // namespace tributary::coordinator
