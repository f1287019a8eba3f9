#include "common/model_format/parameter_names.h"

#include "fmt/format.h"

namespace tributary::model_format {
namespace {

std::string InLayer(int64_t l, std::string_view name) {
  return fmt::format("model.layers.{}.{}.weight", l, name);
}

std::string_view ProjName(MlpPart part) {
  switch (part) {
    case MlpPart::kGate:
      return "gate_proj";
    case MlpPart::kUp:
      return "up_proj";
    case MlpPart::kDown:
      break;
  }
  return "down_proj";
}

std::string_view MixtralName(MlpPart part) {
  switch (part) {
    case MlpPart::kGate:
      return "w1";
    case MlpPart::kUp:
      return "w3";
    case MlpPart::kDown:
      break;
  }
  return "w2";
}

}  // namespace

std::string QProj(int64_t l) { return InLayer(l, "self_attn.q_proj"); }
std::string KProj(int64_t l) { return InLayer(l, "self_attn.k_proj"); }
std::string VProj(int64_t l) { return InLayer(l, "self_attn.v_proj"); }
std::string OProj(int64_t l) { return InLayer(l, "self_attn.o_proj"); }
std::string QNorm(int64_t l) { return InLayer(l, "self_attn.q_norm"); }
std::string KNorm(int64_t l) { return InLayer(l, "self_attn.k_norm"); }
std::string InputNorm(int64_t l) { return InLayer(l, "input_layernorm"); }
std::string PostAttentionNorm(int64_t l) {
  return InLayer(l, "post_attention_layernorm");
}
std::string PostFeedforwardNorm(int64_t l) {
  return InLayer(l, "post_feedforward_layernorm");
}

std::string DenseMlp(int64_t l, MlpPart part) {
  return fmt::format("model.layers.{}.mlp.{}.weight", l, ProjName(part));
}

std::string MixtureExpert(ModelType type, int64_t l, int64_t e, MlpPart part) {
  return type == ModelType::kMixtral
             ? fmt::format(
                   "model.layers.{}.block_sparse_moe.experts.{}.{}.weight", l,
                   e, MixtralName(part))
             : fmt::format("model.layers.{}.mlp.experts.{}.{}.weight", l, e,
                           ProjName(part));
}

std::string MixtureRouter(ModelType type, int64_t l) {
  return InLayer(
      l, type == ModelType::kMixtral ? "block_sparse_moe.gate" : "mlp.gate");
}

std::string FusedGateUp(int64_t l) {
  return fmt::format("model.layers.{}.mlp.experts.gate_up_proj", l);
}

std::string FusedDown(int64_t l) {
  return fmt::format("model.layers.{}.mlp.experts.down_proj", l);
}

std::string FusedRouter(int64_t l) { return InLayer(l, "mlp.gate"); }

std::string ExpertMlp(int64_t l, MlpPart part) {
  return fmt::format("layers.{}.{}.weight", l, ProjName(part));
}

std::string ExpertFactorA(int64_t l, MlpPart part) {
  return fmt::format("layers.{}.{}.lora_A.weight", l, ProjName(part));
}

std::string ExpertFactorB(int64_t l, MlpPart part) {
  return fmt::format("layers.{}.{}.lora_B.weight", l, ProjName(part));
}

std::string RouterWeight(int64_t l) {
  return fmt::format("layers.{}.router.weight", l);
}

std::string RouterBias(int64_t l) {
  return fmt::format("layers.{}.router.bias", l);
}

std::string Importance(int64_t l) {
  return fmt::format("layers.{}.importance", l);
}

}  // namespace tributary::model_format
