#include "common/model/load.h"

#include <utility>

#include "common/base/files.h"
#include "common/model/attention.h"
#include "common/model/errors.h"
#include "common/model/expert_beside.h"
#include "common/model/load_release.h"
#include "common/model/tensor_io.h"
#include "common/model_format/hf_directory.h"
#include "common/model_format/parameter_names.h"

namespace tributary::model {
namespace {

namespace names = model_format;
using model_format::HfDirectory;
using model_format::MlpPart;
using model_format::ModelConfig;
namespace fs = std::filesystem;

// Reads the tensors of one Hugging Face directory.
class Loader {
 public:
  Loader(const HfDirectory& directory, const LoadOptions& options)
      : directory_(directory), config_(directory.config()), options_(options) {}

  StatusOr<CausalLm> Load() const {
    CausalLm lm;
    lm.config = config_;
    lm.top_k = config_.is_moe() ? config_.top_k : 2;
    lm.renormalise = model_format::MergedNormTopkProb(config_);
    lm.rope_frequencies = RopeFrequencies(config_).to(options_.device);
    if (options_.embedding || config_.tie_word_embeddings) {
      ASSIGN_OR_RETURN(lm.embed_VD, Weight(std::string(names::kEmbedTokens)));
    }
    if (config_.tie_word_embeddings) {
      lm.head_VD = lm.embed_VD;
    } else {
      ASSIGN_OR_RETURN(lm.head_VD, Weight(std::string(names::kLmHead)));
    }
    ASSIGN_OR_RETURN(lm.final_norm_D, Vector(std::string(names::kFinalNorm)));
    for (int64_t l = 0; l < config_.num_layers; ++l) {
      if (options_.cancellation != nullptr) {
        RETURN_IF_ERROR(options_.cancellation->Check());
      }
      DecoderLayer layer;
      if (l >= options_.first_layer) {
        ASSIGN_OR_RETURN(layer, Layer(l));
      }
      lm.layers.push_back(std::move(layer));
    }
    return lm;
  }

 private:
  StatusOr<DecoderLayer> Layer(int64_t l) const {
    DecoderLayer layer;
    ASSIGN_OR_RETURN(layer.q_proj_HD, Weight(names::QProj(l)));
    ASSIGN_OR_RETURN(layer.k_proj_HD, Weight(names::KProj(l)));
    ASSIGN_OR_RETURN(layer.v_proj_HD, Weight(names::VProj(l)));
    ASSIGN_OR_RETURN(layer.o_proj_DH, Weight(names::OProj(l)));
    if (config_.qk_norm == model_format::QkNorm::kWholeProjection) {
      ASSIGN_OR_RETURN(layer.q_norm_H, Vector(names::QNorm(l)));
      ASSIGN_OR_RETURN(layer.k_norm_H, Vector(names::KNorm(l)));
    }
    ASSIGN_OR_RETURN(layer.post_attention_norm_D,
                     Vector(names::PostAttentionNorm(l)));
    if (config_.block == model_format::BlockForm::kPreNorm) {
      ASSIGN_OR_RETURN(layer.input_norm_D, Vector(names::InputNorm(l)));
    } else {
      ASSIGN_OR_RETURN(layer.post_feedforward_norm_D,
                       Vector(names::PostFeedforwardNorm(l)));
    }
    if (!config_.is_moe()) {
      ASSIGN_OR_RETURN(layer.ffn, Mlp([&](MlpPart part) {
                         return names::DenseMlp(l, part);
                       }));
      return layer;
    }
    for (int64_t e = 0; e < config_.num_experts; ++e) {
      ASSIGN_OR_RETURN(Ffn expert, Mlp([&](MlpPart part) {
                         return names::MixtureExpert(config_.type, l, e, part);
                       }));
      layer.experts.emplace_back(std::move(expert));
    }
    ASSIGN_OR_RETURN(layer.router_ED,
                     Vector(names::MixtureRouter(config_.type, l)));
    return layer;
  }

  template <typename NameOf>
  StatusOr<Ffn> Mlp(const NameOf& name) const {
    Ffn ffn;
    ASSIGN_OR_RETURN(ffn.gate_FD, Weight(name(MlpPart::kGate)));
    ASSIGN_OR_RETURN(ffn.up_FD, Weight(name(MlpPart::kUp)));
    ASSIGN_OR_RETURN(ffn.down_DF, Weight(name(MlpPart::kDown)));
    return ffn;
  }

  StatusOr<Tensor> Weight(const std::string& name) const {
    return Read(name, options_.dtype);
  }
  // Norms and routers are small and stay fp32.
  StatusOr<Tensor> Vector(const std::string& name) const {
    return Read(name, at::kFloat);
  }

  StatusOr<Tensor> Read(const std::string& name, at::ScalarType dtype) const {
    ASSIGN_OR_RETURN(const model_format::TensorReference reference,
                     directory_.Find(name));
    ASSIGN_OR_RETURN(const Tensor host,
                     ReadTensor(*reference.file, *reference.info, dtype));
    return options_.device.is_cpu() ? host : host.to(options_.device);
  }

  const HfDirectory& directory_;
  const ModelConfig& config_;
  const LoadOptions& options_;
};

}  // namespace

StatusOr<CausalLm> LoadModel(const fs::path& directory,
                             const LoadOptions& options) {
  return CatchTorch([&]() -> StatusOr<CausalLm> {
    if (IsRelease(directory)) {
      return LoadRelease(directory, options);
    }
    ASSIGN_OR_RETURN(const auto source, HfDirectory::Open(directory));
    return Loader(*source, options).Load();
  });
}

StatusOr<CausalLm> LoadSource(const Source& source,
                              const LoadOptions& options) {
  const size_t experts = source.expert_paths.size();
  const size_t routers = source.router_paths.size();
  if (routers != 0 && routers != experts) {
    return InvalidArgument(
        "got {} router files for {} experts, wanted none or one for each",
        routers, experts);
  }
  if (source.top_k < 0) {
    return InvalidArgument(
        "top_k: got {}, wanted at least 1, or 0 for the "
        "model's own",
        source.top_k);
  }
  ASSIGN_OR_RETURN(CausalLm lm, LoadModel(source.directory, options));
  for (size_t i = 0; i < experts; ++i) {
    ASSIGN_OR_RETURN(
        Expert expert,
        LoadExpertBeside(lm, source.expert_paths[i],
                         routers > 0 ? source.router_paths[i] : fs::path(),
                         options));
    RETURN_IF_ERROR(AttachExpert(lm, std::move(expert)));
  }
  if (source.top_k > 0) {
    lm.top_k = source.top_k;
  }
  lm.force_public = source.force_public;
  return lm;
}

}  // namespace tributary::model
