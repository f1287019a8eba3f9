#include "contributor/pruning/import_expert.h"

#include <algorithm>
#include <array>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/model_format/hf_directory.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/float_convert.h"
#include "contributor/pruning/expert_weights.h"

namespace tributary::contributor {
namespace {

using model_format::HfDirectory;
using model_format::MlpPart;
using model_format::ModelConfig;
using safetensors::DType;

constexpr std::array kParts = {MlpPart::kGate, MlpPart::kUp, MlpPart::kDown};

StatusOr<std::vector<float>> ReadParameter(const HfDirectory& directory,
                                           const std::string& name) {
  ASSIGN_OR_RETURN(const auto tensor, directory.Find(name));
  std::vector<float> values(tensor.info->elements());
  RETURN_IF_ERROR(safetensors::ToFloat32(tensor.info->dtype, tensor.bytes(),
                                         std::span(values)));
  return values;
}

// The settings that decide what the frozen part computes.
Status CompareConfigs(const ModelConfig& anchor, const ModelConfig& mixture,
                      const std::string& path) {
  const auto compare = [&](const char* name, auto wanted, auto got) -> Status {
    if (got == wanted) {
      return absl::OkStatus();
    }
    return InvalidArgument(
        "{}: {}: got {}, the anchor has {}; this model was made from another "
        "anchor",
        path, name, got, wanted);
  };
  RETURN_IF_ERROR(compare("vocab_size", anchor.vocab_size, mixture.vocab_size));
  RETURN_IF_ERROR(
      compare("hidden_size", anchor.hidden_size, mixture.hidden_size));
  RETURN_IF_ERROR(
      compare("num_hidden_layers", anchor.num_layers, mixture.num_layers));
  RETURN_IF_ERROR(
      compare("num_attention_heads", anchor.num_heads, mixture.num_heads));
  RETURN_IF_ERROR(compare("num_key_value_heads", anchor.num_kv_heads,
                          mixture.num_kv_heads));
  RETURN_IF_ERROR(compare("head_dim", anchor.head_dim, mixture.head_dim));
  RETURN_IF_ERROR(
      compare("rms_norm_eps", anchor.rms_norm_eps, mixture.rms_norm_eps));
  RETURN_IF_ERROR(compare("rope_theta", anchor.rope.theta, mixture.rope.theta));
  RETURN_IF_ERROR(compare("tie_word_embeddings", anchor.tie_word_embeddings,
                          mixture.tie_word_embeddings));
  if (!(anchor.rope == mixture.rope) || anchor.block != mixture.block ||
      anchor.qk_norm != mixture.qk_norm) {
    return InvalidArgument(
        "{}: RoPE scaling or norms differ from the anchor's; this model was "
        "made from another anchor",
        path);
  }
  return absl::OkStatus();
}

// Matrices of `layer` without the channels from `width` on.
LayerWeights FirstChannels(const LayerWeights& layer, int64_t width,
                           int64_t hidden_size) {
  std::vector<int32_t> kept(width);
  for (int64_t i = 0; i < width; ++i) {
    kept[i] = static_cast<int32_t>(i);
  }
  return SelectChannels(layer, kept, hidden_size);
}

bool IsZeroChannel(const LayerWeights& layer, int64_t i, int64_t hidden_size) {
  for (int64_t d = 0; d < hidden_size; ++d) {
    if (layer.gate_FD[i * hidden_size + d] != 0 ||
        layer.up_FD[i * hidden_size + d] != 0 ||
        layer.down_DF[d * layer.width + i] != 0) {
      return false;
    }
  }
  return true;
}

bool Equal(const LayerWeights& a, const LayerWeights& b) {
  return a.width == b.width && a.gate_FD == b.gate_FD && a.up_FD == b.up_FD &&
         a.down_DF == b.down_DF;
}

// One expert of a directory, checked against the anchor.
class DirectoryImport {
 public:
  DirectoryImport(const HfDirectory& anchor, const HfDirectory& from,
                  int64_t index)
      : anchor_(anchor), from_(from), index_(index) {}

  Status Check() const {
    const ModelConfig& mixture = from_.config();
    const std::string path = from_.path().string();
    if (!mixture.is_moe()) {
      return InvalidArgument(
          "{}: is a {} model, wanted a mixture of the anchor and an expert "
          "(mixtral or flex_olmo), or an expert file",
          path, model_format::ModelTypeName(mixture.type));
    }
    if (index_ < 1 || index_ >= mixture.num_experts) {
      return InvalidArgument(
          "expert index: got {}, wanted 1 to {} (0 is the anchor's own FFN)",
          index_, mixture.num_experts - 1);
    }
    if (mixture.top_k < 2) {
      return InvalidArgument(
          "{}: chooses {} expert a token, wanted at least 2: the anchor and "
          "the expert run together",
          path, mixture.top_k);
    }
    return CompareConfigs(anchor_.config(), mixture, path);
  }

  // Everything that the expert shares with the anchor.
  Status CompareFrozen() {
    std::vector<std::string> dense;
    for (int64_t l = 0; l < layers(); ++l) {
      for (const MlpPart part : kParts) {
        dense.push_back(model_format::DenseMlp(l, part));
      }
    }
    for (const auto& parameter :
         model_format::ModelParameters(anchor_.config())) {
      if (std::ranges::count(dense, parameter.name) == 0) {
        RETURN_IF_ERROR(Compare(parameter.name, parameter.name));
      }
    }
    return absl::OkStatus();
  }

  StatusOr<LayerWeights> Layer(int64_t l) {
    ASSIGN_OR_RETURN(const LayerWeights anchor, ReadAnchorLayer(anchor_, l));
    ASSIGN_OR_RETURN(const LayerWeights shared, Read(l, 0));
    const int64_t hidden = anchor_.config().hidden_size;
    if (!Equal(
            FirstChannels(shared, std::min(shared.width, anchor.width), hidden),
            anchor)) {
      return InvalidArgument(
          "{}: tensor {} differs from the anchor's FFN; this model was made "
          "from another anchor, or its expert 0 was trained",
          from_.path().string(), Name(l, 0, MlpPart::kGate));
    }
    Count(Name(l, 0, MlpPart::kGate), anchor.gate_FD);
    Count(Name(l, 0, MlpPart::kUp), anchor.up_FD);
    Count(Name(l, 0, MlpPart::kDown), anchor.down_DF);
    ASSIGN_OR_RETURN(LayerWeights own, Read(l, index_));
    if (Equal(own, shared)) {
      return LayerWeights{};
    }
    ASSIGN_OR_RETURN(
        const int64_t block,
        model_format::WidthBlock(anchor_.config().intermediate_size));
    int64_t width = own.width;
    while (width >= block && width % block == 0) {
      bool padding = true;
      for (int64_t i = width - block; padding && i < width; ++i) {
        padding = IsZeroChannel(own, i, hidden);
      }
      if (!padding) {
        break;
      }
      width -= block;
    }
    return width == own.width ? own : FirstChannels(own, width, hidden);
  }

  // The expert's row relative to the public one.
  StatusOr<std::vector<float>> Row(int64_t l) const {
    ASSIGN_OR_RETURN(const std::vector<float> rows,
                     ReadParameter(from_, model_format::MixtureRouter(
                                              from_.config().type, l)));
    const int64_t hidden = anchor_.config().hidden_size;
    std::vector<float> row(hidden);
    for (int64_t d = 0; d < hidden; ++d) {
      row[d] = rows[index_ * hidden + d] - rows[d];
    }
    return row;
  }

  StatusOr<DType> StoredType() const {
    for (int64_t l = 0; l < layers(); ++l) {
      for (const MlpPart part : kParts) {
        ASSIGN_OR_RETURN(const auto tensor, from_.Find(Name(l, index_, part)));
        if (tensor.info->dtype != DType::kBF16) {
          return DType::kF32;
        }
      }
    }
    return DType::kBF16;
  }

  int64_t layers() const { return anchor_.config().num_layers; }
  int64_t compared() const { return compared_; }
  std::string digest() const { return digest_.Hex(); }

 private:
  std::string Name(int64_t l, int64_t expert, MlpPart part) const {
    return model_format::MixtureExpert(from_.config().type, l, expert, part);
  }

  StatusOr<LayerWeights> Read(int64_t l, int64_t expert) const {
    LayerWeights layer{.width = from_.config().intermediate_size};
    ASSIGN_OR_RETURN(layer.gate_FD,
                     ReadParameter(from_, Name(l, expert, MlpPart::kGate)));
    ASSIGN_OR_RETURN(layer.up_FD,
                     ReadParameter(from_, Name(l, expert, MlpPart::kUp)));
    ASSIGN_OR_RETURN(layer.down_DF,
                     ReadParameter(from_, Name(l, expert, MlpPart::kDown)));
    return layer;
  }

  Status Compare(const std::string& ours, const std::string& theirs) {
    ASSIGN_OR_RETURN(const std::vector<float> wanted,
                     ReadParameter(anchor_, ours));
    ASSIGN_OR_RETURN(const std::vector<float> got,
                     ReadParameter(from_, theirs));
    if (got != wanted) {
      return InvalidArgument(
          "{}: tensor {} differs from the anchor's; this model was made from "
          "another anchor, or more than the expert was trained",
          from_.path().string(), theirs);
    }
    Count(theirs, got);
    return absl::OkStatus();
  }

  void Count(const std::string& name, const std::vector<float>& values) {
    digest_.Update(name);
    digest_.Update(std::as_bytes(std::span(values)));
    ++compared_;
  }

  const HfDirectory& anchor_;
  const HfDirectory& from_;
  const int64_t index_;
  int64_t compared_ = 0;
  crypto::Sha256 digest_;
};

StatusOr<ImportedExpert> FromDirectory(
    const HfDirectory& anchor, const ImportOptions& options,
    const std::filesystem::path& output_path) {
  ASSIGN_OR_RETURN(const auto from, HfDirectory::Open(options.from_path));
  DirectoryImport import(anchor, *from, options.expert_index);
  RETURN_IF_ERROR(import.Check());
  RETURN_IF_ERROR(import.CompareFrozen());
  std::vector<LayerWeights> layers;
  std::vector<std::vector<float>> rows;
  ImportedExpert imported;
  bool weights = false;
  for (int64_t l = 0; l < import.layers(); ++l) {
    ASSIGN_OR_RETURN(layers.emplace_back(), import.Layer(l));
    ASSIGN_OR_RETURN(rows.emplace_back(), import.Row(l));
    imported.widths.push_back(layers.back().width);
    weights = weights || layers.back().width > 0;
    if (!weights) {
      std::ranges::fill(rows.back(), 0.0f);
    }
  }
  if (!weights) {
    return InvalidArgument(
        "{}: expert {} is the anchor's FFN in every layer; there is nothing to "
        "import",
        options.from_path.string(), options.expert_index);
  }
  imported.compared_tensors = import.compared();
  imported.frozen_digest = import.digest();
  RETURN_IF_ERROR(model_format::CheckLayout(
      anchor.config(), model_format::ExpertLayout{imported.widths}));
  ASSIGN_OR_RETURN(const DType dtype, import.StoredType());
  RETURN_IF_ERROR(WriteExpertWithRows(output_path, anchor.config().hidden_size,
                                      layers, rows, dtype));
  return imported;
}

}  // namespace

StatusOr<ImportedExpert> ImportExpert(
    const ImportOptions& options, const std::filesystem::path& output_path) {
  ASSIGN_OR_RETURN(const auto anchor,
                   HfDirectory::Open(options.model_directory));
  std::error_code error;
  if (std::filesystem::is_directory(options.from_path, error)) {
    return FromDirectory(*anchor, options, output_path);
  }
  ASSIGN_OR_RETURN(const ExpertFile expert,
                   ExpertFile::Open(anchor->config(), options.from_path));
  if (expert.layout().first_layer() == anchor->config().num_layers) {
    return InvalidArgument("{}: has no weights in any layer",
                           options.from_path.string());
  }
  std::filesystem::copy_file(options.from_path, output_path,
                             std::filesystem::copy_options::overwrite_existing,
                             error);
  if (error) {
    return ErrnoStatus(error.value(), "write " + output_path.string());
  }
  return ImportedExpert{.widths = expert.layout().widths};
}

}  // namespace tributary::contributor
