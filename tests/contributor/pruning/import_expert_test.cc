#include "contributor/pruning/import_expert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "common/base/files.h"
#include "common/model_format/hf_directory.h"
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
constexpr int64_t kFfn = 384;
constexpr auto kType = model_format::ModelType::kMixtral;

// The tensors of a mixture by name, fp32.
using Tensors =
    std::map<std::string, std::pair<safetensors::Shape, std::vector<float>>>;

class ImportExpertTest : public ::testing::Test {
 protected:
  ImportExpertTest() : anchor_(*model_format::HfDirectory::Open(kAnchor)) {}

  // The anchor with one more expert in layers 2 and 3: the first 256 channels
  // doubled, the rest zero; elsewhere a copy of the anchor's FFN.
  Tensors Mixture() const {
    Tensors tensors;
    for (const auto& parameter :
         model_format::ModelParameters(anchor_->config())) {
      const auto reference = *anchor_->Find(parameter.name);
      std::vector<float> values(reference.info->elements());
      EXPECT_TRUE(safetensors::ToFloat32(reference.info->dtype,
                                         reference.bytes(), std::span(values))
                      .ok());
      tensors[parameter.name] = {parameter.shape, std::move(values)};
    }
    for (int l = 0; l < 4; ++l) {
      for (const MlpPart part :
           {MlpPart::kGate, MlpPart::kUp, MlpPart::kDown}) {
        auto node = tensors.extract(model_format::DenseMlp(l, part));
        tensors[model_format::MixtureExpert(kType, l, 0, part)] = node.mapped();
        if (l >= 2) {
          Change(part, &node.mapped().second);
        }
        tensors[model_format::MixtureExpert(kType, l, 1, part)] = node.mapped();
      }
      std::vector<float> rows(2 * kHidden, 0.25f);
      rows[kHidden] = static_cast<float>(l);
      tensors[model_format::MixtureRouter(kType, l)] = {{2, kHidden}, rows};
    }
    return tensors;
  }

  static void Change(MlpPart part, std::vector<float>* values) {
    for (size_t i = 0; i < values->size(); ++i) {
      const size_t channel = part == MlpPart::kDown ? i % kFfn : i / kHidden;
      (*values)[i] *= channel < 256 ? 2 : 0;
    }
  }

  fs::path Write(const Tensors& tensors, int64_t top_k = 2) const {
    const fs::path folder = folder_.path() / "mixture";
    EXPECT_TRUE(MakeDirectories(folder).ok());
    const auto config =
        model_format::MixtureConfigJson(anchor_->config(),
                                        {.num_experts = 2,
                                         .top_k = top_k,
                                         .intermediate_size = kFfn,
                                         .norm_topk_prob = true},
                                        "float32");
    EXPECT_TRUE(WriteFileAtomic(folder / "config.json", *config).ok());
    std::vector<safetensors::TensorView> views;
    for (const auto& [name, tensor] : tensors) {
      views.push_back({{name, safetensors::DType::kF32, tensor.first},
                       std::as_bytes(std::span(tensor.second))});
    }
    EXPECT_TRUE(
        safetensors::WriteFile(folder / "model.safetensors", views).ok());
    return folder;
  }

  StatusOr<ImportedExpert> Import(const fs::path& from, int64_t index = 1) {
    return ImportExpert(
        {.model_directory = kAnchor, .from_path = from, .expert_index = index},
        output_);
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("import");
  fs::path output_ = folder_.path() / "expert.safetensors";
  std::unique_ptr<model_format::HfDirectory> anchor_;
};

TEST_F(ImportExpertTest, TakesTheExpertOutOfAMixture) {
  const auto imported = Import(Write(Mixture()));
  ASSERT_TRUE(imported.ok()) << imported.status();
  // A copy of the anchor's FFN has no weights, zeros are padding.
  EXPECT_THAT(imported->widths, ElementsAre(0, 0, 256, 256));
  EXPECT_GT(imported->compared_tensors, 20);
  EXPECT_EQ(imported->frozen_digest.size(), 64u);
  const auto expert = ExpertFile::Open(anchor_->config(), output_);
  ASSERT_TRUE(expert.ok()) << expert.status();
  EXPECT_TRUE(expert->has_rows());
  const LayerWeights layer = *expert->ReadLayer(3);
  const LayerWeights full = *ReadAnchorLayer(*anchor_, 3);
  for (size_t i = 0; i < layer.gate_FD.size(); ++i) {
    ASSERT_EQ(layer.gate_FD[i], 2 * full.gate_FD[i]);
  }
  EXPECT_EQ(layer.down_DF[256], 2 * full.down_DF[kFfn]);
  // Relative to the public row; nothing below the first layer.
  const auto row =
      expert->file().ReadFloats(model_format::RouterWeight(3)).value();
  EXPECT_EQ(row[0], 3 - 0.25f);
  EXPECT_EQ(row[1], 0);
  EXPECT_EQ(expert->file().ReadFloats(model_format::RouterWeight(1)).value()[0],
            0);
}

TEST_F(ImportExpertTest, TakesAnExpertFile) {
  ASSERT_TRUE(Import(Write(Mixture())).ok());
  const fs::path file = folder_.path() / "given.safetensors";
  fs::rename(output_, file);
  const auto imported = Import(file);
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_THAT(imported->widths, ElementsAre(0, 0, 256, 256));
  EXPECT_EQ(*ReadFile(output_), *ReadFile(file));
}

TEST_F(ImportExpertTest, NamesTheFirstTensorThatDiffers) {
  for (const std::string name :
       {"model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight",
        "model.norm.weight"}) {
    Tensors tensors = Mixture();
    tensors[name].second[5] += 1;
    EXPECT_THAT(Import(Write(tensors)).status().message(),
                HasSubstr("tensor " + name + " differs from the anchor's"));
  }
  Tensors tensors = Mixture();
  tensors[model_format::MixtureExpert(kType, 2, 0, MlpPart::kUp)].second[0] +=
      1;
  EXPECT_THAT(Import(Write(tensors)).status().message(),
              HasSubstr("differs from the anchor's FFN"));
}

TEST_F(ImportExpertTest, RefusesAnotherVocabulary) {
  const fs::path folder = Write(Mixture());
  std::string config = *ReadFile(folder / "config.json");
  Tensors tensors = Mixture();
  auto& [shape, values] = tensors["model.embed_tokens.weight"];
  values.resize(values.size() - kHidden);
  shape = {2047, kHidden};
  Write(tensors);
  const size_t at = config.find("2048", config.find("vocab_size"));
  ASSERT_NE(at, std::string::npos);
  config.replace(at, 4, "2047");
  ASSERT_TRUE(WriteFileAtomic(folder / "config.json", config).ok());
  EXPECT_THAT(Import(folder).status().message(),
              HasSubstr("vocab_size: got 2047, the anchor has 2048"));
}

TEST_F(ImportExpertTest, RefusesWhatIsNoExpert) {
  const fs::path mixture = Write(Mixture());
  EXPECT_THAT(Import(mixture, 2).status().message(),
              HasSubstr("expert index: got 2, wanted 1 to 1"));
  EXPECT_THAT(Import(kAnchor).status().message(),
              HasSubstr("is a llama model, wanted a mixture"));
  EXPECT_THAT(Import(Write(Mixture(), 1)).status().message(),
              HasSubstr("chooses 1 expert a token"));
  Tensors same = Mixture();
  for (int l = 2; l < 4; ++l) {
    for (const MlpPart part : {MlpPart::kGate, MlpPart::kUp, MlpPart::kDown}) {
      same[model_format::MixtureExpert(kType, l, 1, part)] =
          same[model_format::MixtureExpert(kType, l, 0, part)];
    }
  }
  EXPECT_THAT(Import(Write(same)).status().message(),
              HasSubstr("nothing to import"));
  EXPECT_TRUE(absl::IsNotFound(Import(folder_.path() / "none").status()));
}

}  // namespace
}  // namespace tributary::contributor
