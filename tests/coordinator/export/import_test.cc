// Mixtures of the olmoe family, and experts given as differences.

#include <gmock/gmock.h>

#include "common/model_format/hf_directory.h"
#include "coordinator/export/split_mixture.h"
#include "tests/coordinator/export/export_fixture.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using model_format::MlpPart;
using model_format::ModelType;

class ImportTest : public ExportFixture {
 protected:
  void MakeModels(const std::string& prefix) const {
    const fs::path log = Path("log");
    const std::string command =
        std::string(TRIBUTARY_PYTHON) + " " + TRIBUTARY_SOURCE_DIR +
        "/tests/numerics/make_models.py " + Path("models").string() + " " +
        prefix + " > " + log.string() + " 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << ReadFile(log).value_or("");
  }

  // Expert files are bf16: with weights that are, nothing is rounded.
  static void StoreAsBf16(const fs::path& model) {
    const fs::path path = model / "model.safetensors";
    model::NamedTensors tensors;
    {
      const auto file = *safetensors::File::Open(path);
      for (const auto& info : file->tensors()) {
        const at::Tensor tensor = *model::ReadTensor(*file, info);
        tensors.emplace_back(
            info.name, tensor.dim() > 1 ? tensor.to(at::kBFloat16) : tensor);
      }
    }
    ASSERT_TRUE(model::WriteTensors(path, tensors).ok());
  }
};

TEST_F(ImportTest, OlmoeComesApartAndTogetherAgain) {
  // Weights of the chosen as they are; the other one divides them by their sum
  // and has fused tensors.
  MakeModels("olmoe_mha_untied");
  for (const char* name : {"olmoe_mha_untied_0", "olmoe_mha_untied_1"}) {
    const fs::path release = Path(name);
    StoreAsBf16(Path("models") / name);
    const auto split = SplitMixture({.model_directory = Path("models") / name,
                                     .output = release,
                                     .name = "moe"});
    ASSERT_TRUE(split.ok()) << split.status();
    EXPECT_EQ(split->experts, 5);
    EXPECT_FALSE(split->rounded);
    EXPECT_LT(split->max_logit_difference, 1e-3);
    // A dense model: a mixture of one.
    const auto anchor = model_format::LoadModelConfig(release / "anchor");
    ASSERT_TRUE(anchor.ok()) << anchor.status();
    EXPECT_EQ(anchor->type, ModelType::kOlmoe);
    EXPECT_FALSE(anchor->is_moe());
    fs::remove_all(Path("exported"));
    ExpectExact(release, "OlmoeForCausalLM");
    const auto again = model_format::LoadModelConfig(Path("exported"));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->num_experts, 6);
    EXPECT_EQ(again->top_k, 3);
    EXPECT_EQ(again->norm_topk_prob, std::string(name).ends_with("1"));
  }
  // The anchor alone is what transformers computes with one expert.
  const auto lm = model::LoadModel(Path("olmoe_mha_untied_0") / "anchor");
  ASSERT_TRUE(lm.ok()) << lm.status();
  at::NoGradGuard no_gradients;
  const at::Tensor ids = at::arange(60, at::kLong).view({2, 30});
  const fs::path wanted = Path("wanted.safetensors");
  ASSERT_TRUE(model::WriteTensors(
                  wanted, {{"input_ids", ids},
                           {"logits",
                            model::Logits(*lm, model::HiddenStates(*lm, ids))}})
                  .ok());
  const Json report = Python("coordinator/export/check_export.py " +
                             (Path("olmoe_mha_untied_0") / "anchor").string() +
                             " " + wanted.string());
  EXPECT_EQ(report["problems"].dump(), "[]");
  EXPECT_LT(report["difference"].get<double>(), 1e-3);
}

TEST_F(ImportTest, DifferencesAreExportedAsMatrices) {
  const auto config = TinyConfig();
  ASSERT_TRUE(
      WriteRelease(model::TinyAnchor(),
                   Experts(config, {{0, 384, 128, 384}, {0, 0, 128, 0}}),
                   /*renormalise=*/true, Path("release"))
          .ok());
  // The same names and rows, layer 1 and 3 of the first one as factors.
  const fs::path path = Path("release") / "experts" / "expert-0.safetensors";
  const auto before = *safetensors::File::Open(path);
  at::manual_seed(5);
  model::NamedTensors tensors;
  for (const auto& info : before->tensors()) {
    const int64_t l = info.name[7] - '0';
    if ((l == 1 || l == 3) && info.name.find("proj") != std::string::npos) {
      const auto part =
          info.name.find("gate") != std::string::npos ? MlpPart::kGate
          : info.name.find("up") != std::string::npos ? MlpPart::kUp
                                                      : MlpPart::kDown;
      const auto factor = [&](int64_t rows, int64_t columns) {
        return (at::randn({rows, columns}) * 0.1).to(at::kBFloat16);
      };
      tensors.emplace_back(model_format::ExpertFactorA(l, part),
                           factor(2, info.shape[1]));
      tensors.emplace_back(model_format::ExpertFactorB(l, part),
                           factor(info.shape[0], 2));
    } else {
      tensors.emplace_back(info.name, *model::ReadTensor(*before, info));
    }
  }
  ASSERT_TRUE(model::WriteTensors(path, tensors).ok());
  ExpectExact(Path("release"), "MixtralForCausalLM");
  // As a release whose owner sent the matrices.
  const auto lm = model::LoadModel(Path("release"));
  ASSERT_TRUE(lm.ok()) << lm.status();
  const auto exported = model_format::HfDirectory::Open(Path("exported"));
  ASSERT_TRUE(exported.ok()) << exported.status();
  const auto tensor = (*exported)->Find(
      model_format::MixtureExpert(ModelType::kMixtral, 3, 1, MlpPart::kDown));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_TRUE(
      at::equal(*model::ReadTensor(*tensor->file, *tensor->info, at::kFloat),
                lm->layers[3].experts[1]->down_DF));
}

}  // namespace
}  // namespace tributary::coordinator
