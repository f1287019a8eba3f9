#include "coordinator/export/gguf_restore.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "common/base/files.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/writer.h"
#include "coordinator/export/gguf_file.h"
#include "coordinator/export/gguf_layout.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
namespace names = model_format;
using model_format::MlpPart;
using model_format::ModelConfig;
using model_format::ModelType;
using safetensors::DType;

DType DTypeOf(gguf::Type type) {
  switch (type) {
    case gguf::Type::kBF16:
      return DType::kBF16;
    case gguf::Type::kF16:
      return DType::kF16;
    default:
      return DType::kF32;
  }
}

class Restorer {
 public:
  Restorer(const gguf::File& file, const model_format::Rope& rope)
      : file_(file), rope_(rope) {}

  Status Run(const fs::path& folder) {
    ReadConfig();
    RETURN_IF_ERROR(error_);
    ASSIGN_OR_RETURN(const std::string config,
                     model_format::MixtureConfigJson(
                         config_,
                         {.num_experts = experts_,
                          .top_k = top_k_,
                          .intermediate_size = config_.intermediate_size,
                          .norm_topk_prob = true},
                         "float32"));
    Collect();
    RETURN_IF_ERROR(error_);
    std::vector<safetensors::TensorView> views;
    for (size_t i = 0; i < specs_.size(); ++i) {
      views.push_back({specs_[i], views_[i]});
    }
    RETURN_IF_ERROR(WriteFileAtomic(folder / "config.json", config));
    return safetensors::WriteFile(folder / "model.safetensors", views,
                                  {.metadata = {{"format", "pt"}}});
  }

 private:
  int64_t Size(const std::string& key) {
    const uint32_t* value = file_.Get<uint32_t>(key);
    if (value == nullptr || *value == 0) {
      error_ = InvalidArgument("{}: wanted a number above 0", key);
      return 1;
    }
    return *value;
  }

  double Number(const std::string& key) {
    const float* value = file_.Get<float>(key);
    if (value == nullptr) {
      error_ = InvalidArgument("{}: wanted a number", key);
      return 1;
    }
    // Stored in fp32; its shortest decimal is what was meant.
    return std::stod(fmt::format("{}", *value));
  }

  void ReadConfig() {
    const std::string* architecture =
        file_.Get<std::string>("general.architecture");
    if (architecture == nullptr || *architecture != "llama") {
      error_ = InvalidArgument("general.architecture: wanted llama");
      return;
    }
    config_.type = ModelType::kLlama;
    config_.num_layers = Size("llama.block_count");
    config_.max_position_embeddings = Size("llama.context_length");
    config_.hidden_size = Size("llama.embedding_length");
    config_.intermediate_size = Size("llama.feed_forward_length");
    config_.num_heads = Size("llama.attention.head_count");
    config_.num_kv_heads = Size("llama.attention.head_count_kv");
    config_.head_dim = Size("llama.attention.key_length");
    config_.vocab_size = Size("llama.vocab_size");
    config_.rms_norm_eps = Number("llama.attention.layer_norm_rms_epsilon");
    config_.rope.theta = Number("llama.rope.freq_base");
    config_.tie_word_embeddings = file_.Find("output.weight") == nullptr;
    experts_ = Size("llama.expert_count");
    top_k_ = Size("llama.expert_used_count");
    if (file_.Get<std::string>("llama.rope.scaling.type") != nullptr) {
      config_.rope.scaling = model_format::RopeScaling::kLinear;
      config_.rope.factor = Number("llama.rope.scaling.factor");
    }
    if (file_.Find("rope_freqs.weight") != nullptr) {
      config_.rope = rope_;
    }
  }

  void Collect() {
    Take("token_embd.weight", std::string(names::kEmbedTokens));
    for (int64_t l = 0; l < config_.num_layers; ++l) {
      const auto name = [l](const char* rest) {
        return fmt::format("blk.{}.{}.weight", l, rest);
      };
      Take(name("attn_norm"), names::InputNorm(l));
      TakeRows(name("attn_q"), names::QProj(l));
      TakeRows(name("attn_k"), names::KProj(l));
      Take(name("attn_v"), names::VProj(l));
      Take(name("attn_output"), names::OProj(l));
      Take(name("ffn_norm"), names::PostAttentionNorm(l));
      Take(name("ffn_gate_inp"), names::MixtureRouter(ModelType::kMixtral, l));
      TakeStack(name("ffn_gate_exps"), l, MlpPart::kGate);
      TakeStack(name("ffn_up_exps"), l, MlpPart::kUp);
      TakeStack(name("ffn_down_exps"), l, MlpPart::kDown);
    }
    Take("output_norm.weight", std::string(names::kFinalNorm));
    if (!config_.tie_word_embeddings) {
      Take("output.weight", std::string(names::kLmHead));
    }
  }

  const gguf::Tensor* Tensor(const std::string& name) {
    const gguf::Tensor* tensor = file_.Find(name);
    if (tensor == nullptr) {
      error_ = InvalidArgument("the file has no tensor {}", name);
    }
    return tensor;
  }

  void Add(std::string name, gguf::Type type, std::span<const int64_t> shape,
           std::span<const std::byte> bytes) {
    specs_.push_back(
        {std::move(name), DTypeOf(type), safetensors::Shape(shape)});
    views_.push_back(bytes);
  }

  void Take(const std::string& from, std::string to) {
    if (const gguf::Tensor* tensor = Tensor(from)) {
      Add(std::move(to), tensor->type, tensor->shape, file_.Bytes(*tensor));
    }
  }

  void TakeRows(const std::string& from, std::string to) {
    const gguf::Tensor* tensor = Tensor(from);
    if (tensor == nullptr) {
      return;
    }
    const auto bytes = file_.Bytes(*tensor);
    const auto rows = static_cast<size_t>(tensor->shape[0]);
    if (rows % static_cast<size_t>(config_.head_dim) != 0) {
      error_ = InvalidArgument("{}: has {} rows for heads of {}", from, rows,
                                config_.head_dim);
      return;
    }
    const size_t row_bytes = bytes.size() / rows;
    std::vector<std::byte>& copy = copies_.emplace_back(bytes.size());
    for (size_t row = 0; row < rows; ++row) {
      const auto source = static_cast<size_t>(
          PermutedRow(static_cast<int64_t>(row), config_.head_dim,
                      /*to_gguf=*/false));
      std::memcpy(copy.data() + row * row_bytes,
                  bytes.data() + source * row_bytes, row_bytes);
    }
    Add(std::move(to), tensor->type, tensor->shape, copy);
  }

  void TakeStack(const std::string& from, int64_t layer, MlpPart part) {
    const gguf::Tensor* tensor = Tensor(from);
    if (tensor == nullptr) {
      return;
    }
    if (tensor->shape.size() != 3 || tensor->shape[0] != experts_) {
      error_ =
          InvalidArgument("{}: wanted a stack of {} matrices", from, experts_);
      return;
    }
    const auto bytes = file_.Bytes(*tensor);
    const size_t each = bytes.size() / static_cast<size_t>(experts_);
    for (int64_t e = 0; e < experts_; ++e) {
      Add(names::MixtureExpert(ModelType::kMixtral, layer, e, part),
          tensor->type, std::span(tensor->shape).subspan(1),
          bytes.subspan(static_cast<size_t>(e) * each, each));
    }
  }

  const gguf::File& file_;
  const model_format::Rope& rope_;
  ModelConfig config_;
  int64_t experts_ = 0;
  int64_t top_k_ = 0;
  std::vector<safetensors::TensorSpec> specs_;
  std::vector<std::span<const std::byte>> views_;
  std::vector<std::vector<std::byte>> copies_;
  Status error_;
};

}  // namespace

Status RestoreGguf(const fs::path& file, const model_format::Rope& rope,
                   const fs::path& folder) {
  ASSIGN_OR_RETURN(const auto opened, gguf::File::Open(file));
  return Annotate(Restorer(*opened, rope).Run(folder), file.string());
}

}  // namespace tributary::coordinator
