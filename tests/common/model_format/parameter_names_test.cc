#include "common/model_format/parameter_names.h"

#include "gtest/gtest.h"

namespace tributary::model_format {
namespace {

TEST(ParameterNames, AreTheCheckpointKeys) {
  EXPECT_EQ(QProj(3), "model.layers.3.self_attn.q_proj.weight");
  EXPECT_EQ(OProj(0), "model.layers.0.self_attn.o_proj.weight");
  EXPECT_EQ(QNorm(1), "model.layers.1.self_attn.q_norm.weight");
  EXPECT_EQ(PostFeedforwardNorm(1),
            "model.layers.1.post_feedforward_layernorm.weight");
  EXPECT_EQ(DenseMlp(2, MlpPart::kUp), "model.layers.2.mlp.up_proj.weight");
  EXPECT_EQ(MixtureExpert(ModelType::kMixtral, 2, 4, MlpPart::kGate),
            "model.layers.2.block_sparse_moe.experts.4.w1.weight");
  EXPECT_EQ(MixtureExpert(ModelType::kMixtral, 2, 4, MlpPart::kUp),
            "model.layers.2.block_sparse_moe.experts.4.w3.weight");
  EXPECT_EQ(MixtureExpert(ModelType::kMixtral, 2, 4, MlpPart::kDown),
            "model.layers.2.block_sparse_moe.experts.4.w2.weight");
  EXPECT_EQ(MixtureExpert(ModelType::kFlexOlmo, 2, 4, MlpPart::kDown),
            "model.layers.2.mlp.experts.4.down_proj.weight");
  EXPECT_EQ(MixtureRouter(ModelType::kMixtral, 5),
            "model.layers.5.block_sparse_moe.gate.weight");
  EXPECT_EQ(MixtureRouter(ModelType::kOlmoe, 5),
            "model.layers.5.mlp.gate.weight");
  EXPECT_EQ(ExpertMlp(7, MlpPart::kDown), "layers.7.down_proj.weight");
  EXPECT_EQ(RouterWeight(7), "layers.7.router.weight");
  EXPECT_EQ(RouterBias(7), "layers.7.router.bias");
  EXPECT_EQ(Importance(7), "layers.7.importance");
}

}  // namespace
}  // namespace tributary::model_format
