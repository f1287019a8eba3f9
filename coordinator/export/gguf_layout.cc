#include "coordinator/export/gguf_layout.h"

#include <cmath>

#include "common/model_format/parameter_names.h"

namespace tributary::coordinator {
namespace {

namespace names = model_format;
using model_format::MlpPart;
using model_format::ModelType;
using safetensors::TensorSpec;

gguf::Type TypeOf(safetensors::DType dtype) {
  switch (dtype) {
    case safetensors::DType::kBF16:
      return gguf::Type::kBF16;
    case safetensors::DType::kF16:
      return gguf::Type::kF16;
    default:
      return gguf::Type::kF32;
  }
}

class Planner {
 public:
  Planner(const GgufModel& model,
          const std::function<const TensorSpec*(const std::string&)>& spec_of)
      : model_(model), spec_of_(spec_of) {}

  StatusOr<std::vector<GgufPart>> Plan() {
    const model_format::ModelConfig& config = model_.anchor;
    Add("token_embd.weight", {std::string(names::kEmbedTokens)});
    if (config.rope.scaling == model_format::RopeScaling::kLlama3) {
      AddRopeFactors();
    }
    for (int64_t l = 0; l < config.num_layers; ++l) {
      AddLayer(l);
    }
    AddVector("output_norm.weight", std::string(names::kFinalNorm));
    if (!config.tie_word_embeddings) {
      Add("output.weight", {std::string(names::kLmHead)});
    }
    RETURN_IF_ERROR(error_);
    return std::move(parts_);
  }

 private:
  void AddLayer(int64_t l) {
    const auto name = [l](const char* rest) {
      return fmt::format("blk.{}.{}.weight", l, rest);
    };
    AddVector(name("attn_norm"), names::InputNorm(l));
    Add(name("attn_q"), {names::QProj(l)}, model_.anchor.num_heads);
    Add(name("attn_k"), {names::KProj(l)}, model_.anchor.num_kv_heads);
    Add(name("attn_v"), {names::VProj(l)});
    Add(name("attn_output"), {names::OProj(l)});
    AddVector(name("ffn_norm"), names::PostAttentionNorm(l));
    AddVector(name("ffn_gate_inp"),
              names::MixtureRouter(ModelType::kMixtral, l));
    const std::pair<const char*, MlpPart> parts[] = {
        {"ffn_gate_exps", MlpPart::kGate},
        {"ffn_up_exps", MlpPart::kUp},
        {"ffn_down_exps", MlpPart::kDown}};
    for (const auto& [rest, part] : parts) {
      std::vector<std::string> sources;
      for (int64_t e = 0; e < model_.num_experts; ++e) {
        sources.push_back(
            names::MixtureExpert(ModelType::kMixtral, l, e, part));
      }
      Add(name(rest), std::move(sources), 0, /*stacked=*/true);
    }
  }

  void Add(std::string name, std::vector<std::string> sources,
           int64_t heads = 0, bool stacked = false) {
    const TensorSpec* spec = spec_of_(sources.front());
    if (spec == nullptr) {
      error_ = NotFound("the mixture has no tensor \"{}\"", sources.front());
      return;
    }
    GgufPart part{.tensor = {.name = std::move(name),
                             .type = TypeOf(spec->dtype),
                             .shape = spec->shape.ToVector()},
                  .sources = std::move(sources),
                  .heads = heads,
                  .values = {}};
    if (stacked) {
      part.tensor.shape.insert(part.tensor.shape.begin(), model_.num_experts);
    }
    parts_.push_back(std::move(part));
  }

  // Norms and routers are fp32 in the file.
  void AddVector(std::string name, std::string source) {
    Add(std::move(name), {std::move(source)});
    if (error_.ok()) {
      parts_.back().tensor.type = gguf::Type::kF32;
    }
  }

  // llama.cpp divides the plain frequencies by these.
  void AddRopeFactors() {
    GgufPart part{.tensor = {.name = "rope_freqs.weight",
                             .type = gguf::Type::kF32,
                             .shape = {model_.anchor.head_dim / 2}},
                  .sources = {},
                  .heads = 0,
                  .values = {}};
    for (size_t i = 0; i < model_.rope_frequencies.size(); ++i) {
      const double plain =
          std::pow(model_.anchor.rope.theta,
                   -2.0 * static_cast<double>(i) /
                       static_cast<double>(model_.anchor.head_dim));
      part.values.push_back(
          static_cast<float>(plain / model_.rope_frequencies[i]));
    }
    parts_.push_back(std::move(part));
  }

  const GgufModel& model_;
  const std::function<const TensorSpec*(const std::string&)>& spec_of_;
  std::vector<GgufPart> parts_;
  Status error_;
};

uint32_t Size(int64_t value) { return static_cast<uint32_t>(value); }

}  // namespace

StatusOr<std::vector<GgufPart>> PlanGguf(
    const GgufModel& model,
    const std::function<const TensorSpec*(const std::string&)>& spec_of) {
  return Planner(model, spec_of).Plan();
}

gguf::Metadata ModelMetadata(const GgufModel& model, const std::string& name,
                             gguf::Type experts) {
  const model_format::ModelConfig& config = model.anchor;
  // llama.cpp's numbers for files that are all fp32, or mostly fp16 or bf16.
  uint32_t file_type = 0;
  if (experts != gguf::Type::kF32) {
    file_type = experts == gguf::Type::kF16 ? 1 : 32;
  }
  gguf::Metadata entries = {
      {"general.architecture", std::string("llama")},
      {"general.name", name},
      {"general.file_type", file_type},
      {"llama.block_count", Size(config.num_layers)},
      {"llama.context_length", Size(config.max_position_embeddings)},
      {"llama.embedding_length", Size(config.hidden_size)},
      {"llama.feed_forward_length", Size(config.intermediate_size)},
      {"llama.attention.head_count", Size(config.num_heads)},
      {"llama.attention.head_count_kv", Size(config.num_kv_heads)},
      {"llama.attention.key_length", Size(config.head_dim)},
      {"llama.attention.value_length", Size(config.head_dim)},
      {"llama.attention.layer_norm_rms_epsilon",
       static_cast<float>(config.rms_norm_eps)},
      {"llama.rope.dimension_count", Size(config.head_dim)},
      {"llama.rope.freq_base", static_cast<float>(config.rope.theta)},
      {"llama.vocab_size", Size(config.vocab_size)},
      {"llama.expert_count", Size(model.num_experts)},
      {"llama.expert_used_count", Size(model.top_k)}};
  if (config.rope.scaling == model_format::RopeScaling::kLinear) {
    entries.emplace_back("llama.rope.scaling.type", std::string("linear"));
    entries.emplace_back("llama.rope.scaling.factor",
                         static_cast<float>(config.rope.factor));
  }
  return entries;
}

int64_t PermutedRow(int64_t row, int64_t head_dim, bool to_gguf) {
  const int64_t head = row / head_dim;
  const int64_t within = row % head_dim;
  const int64_t half = head_dim / 2;
  // In the file the pair (j, j + half) of a head is (2 j, 2 j + 1).
  const int64_t source = to_gguf ? (within % 2) * half + within / 2
                                 : (within % half) * 2 + within / half;
  return head * head_dim + source;
}

}  // namespace tributary::coordinator
