#include "contributor/export/export_expert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "common/base/files.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/float_convert.h"
#include "common/safetensors/writer.h"
#include "contributor/pruning/expert_weights.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using model_format::MlpPart;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const fs::path kAnchor =
    fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures/tiny_anchor";
constexpr int64_t kHidden = 128;

struct Named {
  std::string name;
  safetensors::Shape shape;
  std::vector<float> values;
};

void Write(const fs::path& path, const std::vector<Named>& tensors) {
  std::vector<safetensors::TensorView> views;
  for (const Named& tensor : tensors) {
    views.push_back({{tensor.name, safetensors::DType::kF32, tensor.shape},
                     std::as_bytes(std::span(tensor.values))});
  }
  ASSERT_TRUE(safetensors::WriteFile(path, views).ok());
}

class ExportTest : public ::testing::Test {
 protected:
  ExportTest() {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    layers_.resize(4);
    for (const auto& [l, width] : {std::pair{2, 256}, {3, 128}}) {
      layers_[l].width = width;
      for (auto* matrix :
           {&layers_[l].gate_FD, &layers_[l].up_FD, &layers_[l].down_DF}) {
        matrix->resize(width * kHidden);
        for (float& value : *matrix) {
          value = normal(random);
        }
      }
    }
    EXPECT_TRUE(WriteExpertWeights(expert_, kHidden, layers_).ok());
    for (int l = 0; l < 4; ++l) {
      Named row{model_format::RouterWeight(l), {kHidden}, {}};
      for (int64_t d = 0; d < kHidden; ++d) {
        row.values.push_back(normal(random));
      }
      rows_.push_back(row);
      rows_.push_back({model_format::RouterBias(l), {}, {0.25f * l}});
    }
    Write(router_, rows_);
  }

  StatusOr<ExportedExpert> Export() {
    return ExportExpert({.model_directory = kAnchor,
                         .expert_path = expert_,
                         .router_path = router_},
                        output_);
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("export");
  fs::path expert_ = folder_.path() / "expert.safetensors";
  fs::path router_ = folder_.path() / "router.safetensors";
  fs::path output_ = folder_.path() / "export.safetensors";
  std::vector<LayerWeights> layers_;
  std::vector<Named> rows_;
};

TEST_F(ExportTest, WritesTheFormatAndNothingElse) {
  const auto exported = Export();
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_THAT(exported->widths, ElementsAre(0, 0, 256, 128));
  EXPECT_EQ(exported->parameters, 3 * kHidden * 384 + 4 * (kHidden + 1));
  EXPECT_EQ(exported->size_bytes, *FileSize(output_));
  const auto file = *safetensors::File::Open(output_);
  EXPECT_TRUE(file->metadata().empty());
  const auto anchor = *model_format::LoadModelConfig(kAnchor);
  const auto specs =
      *model_format::ExpertTensors(anchor, {.widths = exported->widths});
  ASSERT_EQ(file->tensors().size(), specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    EXPECT_EQ(file->tensors()[i].name, specs[i].name);
    EXPECT_EQ(file->tensors()[i].dtype, specs[i].dtype);
    EXPECT_TRUE(file->tensors()[i].shape == specs[i].shape);
  }
  const auto stored =
      *file->ReadFloats(model_format::ExpertMlp(2, MlpPart::kDown));
  for (size_t i = 0; i < stored.size(); ++i) {
    ASSERT_EQ(stored[i], safetensors::Bf16ToFloat(
                             safetensors::FloatToBf16(layers_[2].down_DF[i])));
  }
  // Rows: as they are, zeros below the first layer.
  EXPECT_EQ(*file->ReadFloats(model_format::RouterWeight(3)), rows_[6].values);
  EXPECT_THAT(*file->ReadFloats(model_format::RouterBias(3)),
              ElementsAre(0.75f));
  EXPECT_EQ(*file->ReadFloats(model_format::RouterWeight(1)),
            std::vector<float>(kHidden, 0.0f));
  EXPECT_THAT(*file->ReadFloats(model_format::RouterBias(1)),
              ElementsAre(0.0f));
}

TEST_F(ExportTest, IsAFunctionOfItsInputs) {
  ASSERT_TRUE(Export().ok());
  const std::string first = *ReadFile(output_);
  ASSERT_TRUE(Export().ok());
  EXPECT_EQ(first, *ReadFile(output_));
  // An exported file is an expert with rows: exporting it changes nothing.
  const auto again =
      ExportExpert({.model_directory = kAnchor, .expert_path = output_},
                   folder_.path() / "again.safetensors");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(first, *ReadFile(folder_.path() / "again.safetensors"));
}

TEST_F(ExportTest, RefusesExtraTensorsAndMissingRows) {
  Write(expert_, {{"layers.0.notes", {1}, {1.0f}}});
  EXPECT_THAT(Export().status().message(), HasSubstr("layers.0.notes"));
  ASSERT_TRUE(WriteExpertWeights(expert_, kHidden, layers_).ok());
  EXPECT_THAT(ExportExpert({.model_directory = kAnchor, .expert_path = expert_},
                           output_)
                  .status()
                  .message(),
              HasSubstr("no router rows"));
  rows_.pop_back();
  Write(router_, rows_);
  EXPECT_FALSE(Export().ok());
}

TEST_F(ExportTest, RefusesValuesThatAreNotFinite) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::max()}) {
    auto layers = layers_;
    layers[3].up_FD[5] = bad;
    ASSERT_TRUE(WriteExpertWeights(expert_, kHidden, layers).ok());
    const Status status = Export().status();
    ASSERT_TRUE(absl::IsInvalidArgument(status)) << bad;
    EXPECT_THAT(status.message(), HasSubstr("layers.3.up_proj.weight"));
    EXPECT_FALSE(fs::exists(output_));
  }
}

}  // namespace
}  // namespace tributary::contributor
