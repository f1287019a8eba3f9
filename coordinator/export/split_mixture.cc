#include "coordinator/export/split_mixture.h"

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/crypto/digest.h"
#include "common/manifest/expert_file_check.h"
#include "common/manifest/expert_manifest.h"
#include "common/model/errors.h"
#include "common/model/load_release.h"
#include "common/model/tensor_io.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/hf_directory.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/writer.h"
#include "coordinator/export/pending_output.h"
#include "coordinator/export/tokenizer_files.h"
#include "coordinator/merge/merge.h"
#include "coordinator/merge/release_directory.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
namespace names = model_format;
using at::Tensor;
using model_format::HfDirectory;
using model_format::MlpPart;
using model_format::ModelConfig;
using model_format::ModelType;

constexpr MlpPart kParts[] = {MlpPart::kGate, MlpPart::kUp, MlpPart::kDown};
constexpr int64_t kSplitWindows = 2;
constexpr int64_t kSplitLength = 64;
// Of logits: between two computations of one model, and with rounded weights.
constexpr double kSplitTolerance = 5e-3;
constexpr double kRoundedTolerance = 0.5;

// What the dense model that a mixture's trunk belongs to is called.
struct DenseFamily {
  const char* model_type;
  const char* architecture;
};

DenseFamily DenseFamilyOf(ModelType mixture) {
  switch (mixture) {
    case ModelType::kMixtral:
      return {"llama", "LlamaForCausalLM"};
    case ModelType::kOlmoe:
      // A mixture of one expert is the dense model of this block.
      return {"olmoe", "OlmoeForCausalLM"};
    default:
      return {"olmo2", "Olmo2ForCausalLM"};
  }
}

// config.json of the dense model that the mixture's trunk belongs to.
StatusOr<std::string> DenseConfig(const HfDirectory& mixture) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFile(mixture.path() / "config.json"));
  ASSIGN_OR_RETURN(Json config, ParseJson(text));
  for (const char* key :
       {"num_local_experts", "num_experts", "num_experts_per_tok",
        "norm_topk_prob", "output_router_logits", "router_aux_loss_coef",
        "router_jitter_noise", "sliding_window", "auto_map"}) {
    config.erase(key);
  }
  const ModelType type = mixture.config().type;
  const DenseFamily dense = DenseFamilyOf(type);
  config["model_type"] = dense.model_type;
  config["architectures"] = {dense.architecture};
  config["attention_bias"] = false;
  if (type == ModelType::kMixtral) {
    config["mlp_bias"] = false;
  }
  if (type == ModelType::kOlmoe) {
    config["num_experts"] = 1;
    config["num_experts_per_tok"] = 1;
    config["norm_topk_prob"] = false;
  }
  return DumpJson(config, /*indent=*/2);
}

class Splitter {
 public:
  Splitter(const HfDirectory& mixture, const SplitOptions& options)
      : mixture_(mixture), options_(options) {}

  StatusOr<SplitResult> Run(const fs::path& folder) {
    const ReleaseDirectory parts(folder);
    RETURN_IF_ERROR(MakeDirectories(folder / "experts"));
    RETURN_IF_ERROR(WriteAnchor(parts.anchor()));
    ASSIGN_OR_RETURN(anchor_, model_format::LoadModelConfig(parts.anchor()));
    MergePlan plan;
    ASSIGN_OR_RETURN(plan.anchor, DescribeAnchor(parts.anchor()));
    for (int64_t e = 1; e < mixture_.config().num_experts; ++e) {
      if (options_.load.cancellation != nullptr) {
        RETURN_IF_ERROR(options_.load.cancellation->Check());
      }
      const std::string name = fmt::format("{}-{:03}", options_.name, e);
      RETURN_IF_ERROR(WriteExpert(e, parts.expert(name)));
      ASSIGN_OR_RETURN(const manifest::ExpertManifest manifest,
                       DescribeExpert(name, plan.anchor, parts.expert(name)));
      ASSIGN_OR_RETURN(MergeExpert expert,
                       MergeExpertOf(manifest, parts.expert(name)));
      plan.experts.push_back(std::move(expert));
      if (options_.on_progress) {
        options_.on_progress(
            0.6 * static_cast<double>(e) /
                static_cast<double>(mixture_.config().num_experts),
            "writing experts");
      }
    }
    result_.experts = static_cast<int64_t>(plan.experts.size());
    ASSIGN_OR_RETURN(const manifest::ReleaseManifest release,
                     Merge(std::move(plan), parts.router()));
    ASSIGN_OR_RETURN(const std::string json, release.ToJson());
    RETURN_IF_ERROR(WriteFileAtomic(parts.manifest(), json));
    RETURN_IF_ERROR(CompareWithMixture(folder));
    return result_;
  }

 private:
  // Every tensor of the anchor as the mixture stores it.
  Status WriteAnchor(const fs::path& folder) {
    RETURN_IF_ERROR(MakeDirectories(folder));
    ASSIGN_OR_RETURN(const std::string json, DenseConfig(mixture_));
    ASSIGN_OR_RETURN(const ModelConfig config,
                     model_format::ParseModelConfig(json));
    RETURN_IF_ERROR(WriteFileAtomic(folder / "config.json", json + "\n"));
    const ModelType type = mixture_.config().type;
    const bool olmoe = type == ModelType::kOlmoe;
    std::map<std::string, std::string> ffn;  // dense names to expert 0's
    for (int64_t l = 0; l < config.num_layers; ++l) {
      for (const MlpPart part : kParts) {
        ffn[names::DenseMlp(l, part)] = names::MixtureExpert(type, l, 0, part);
      }
    }
    std::vector<safetensors::TensorView> views;
    for (const auto& parameter : model_format::ModelParameters(config)) {
      const auto expert = ffn.find(parameter.name);
      const std::string& source =
          expert == ffn.end() ? parameter.name : expert->second;
      ASSIGN_OR_RETURN(const model_format::TensorReference tensor,
                       mixture_.Find(source));
      views.push_back({{olmoe ? source : parameter.name, tensor.info->dtype,
                        tensor.info->shape},
                       tensor.bytes()});
    }
    // The router of one expert has nothing to choose.
    const std::vector<float> row(static_cast<size_t>(config.hidden_size));
    for (int64_t l = 0; olmoe && l < config.num_layers; ++l) {
      views.push_back({{names::MixtureRouter(type, l),
                        safetensors::DType::kF32,
                        {1, config.hidden_size}},
                       std::as_bytes(std::span(row))});
    }
    RETURN_IF_ERROR(safetensors::WriteFile(folder / "model.safetensors", views,
                                           {.metadata = {{"format", "pt"}}}));
    return CopyTokenizerFiles(mixture_.path(), folder);
  }

  // Nothing has published this anchor: its digest is that of its files.
  StatusOr<MergeAnchor> DescribeAnchor(const fs::path& folder) const {
    Json files = Json::object();
    for (const auto& entry : fs::directory_iterator(folder)) {
      ASSIGN_OR_RETURN(const crypto::FileDigest digest,
                       crypto::DigestFile(entry.path()));
      files[entry.path().filename().string()] = digest.sha256;
    }
    ASSIGN_OR_RETURN(const std::string text, DumpJson(files));
    return MergeAnchor{
        .name = options_.name,
        .digest = crypto::Sha256Hex(text),
        .num_layers = anchor_.num_layers,
        .hidden_size = anchor_.hidden_size,
        .routing = {.mode = "imported",
                    .top_k = mixture_.config().top_k,
                    .renormalise =
                        model_format::MergedNormTopkProb(mixture_.config())}};
  }

  StatusOr<Tensor> Read(const std::string& name, at::ScalarType dtype) {
    ASSIGN_OR_RETURN(const model_format::TensorReference tensor,
                     mixture_.Find(name));
    return model::ReadTensor(*tensor.file, *tensor.info, dtype);
  }

  Status WriteExpert(int64_t e, const fs::path& path) {
    const ModelType type = mixture_.config().type;
    model::NamedTensors tensors;
    for (int64_t l = 0; l < anchor_.num_layers; ++l) {
      for (const MlpPart part : kParts) {
        const std::string source = names::MixtureExpert(type, l, e, part);
        ASSIGN_OR_RETURN(const auto found, mixture_.Find(source));
        result_.rounded =
            result_.rounded || found.info->dtype != safetensors::DType::kBF16;
        ASSIGN_OR_RETURN(Tensor matrix, Read(source, at::kBFloat16));
        tensors.emplace_back(names::ExpertMlp(l, part), std::move(matrix));
      }
      ASSIGN_OR_RETURN(const Tensor rows,
                       Read(names::MixtureRouter(type, l), at::kDouble));
      tensors.emplace_back(
          names::RouterWeight(l),
          (rows.select(0, e) - rows.select(0, 0)).to(at::kFloat));
      tensors.emplace_back(names::RouterBias(l), at::zeros({}));
    }
    return model::WriteTensors(path, tensors);
  }

  StatusOr<manifest::ExpertManifest> DescribeExpert(const std::string& name,
                                                    const MergeAnchor& anchor,
                                                    const fs::path& path) {
    ASSIGN_OR_RETURN(const auto file, safetensors::File::Open(path));
    ASSIGN_OR_RETURN(const model_format::ExpertLayout layout,
                     model_format::ReadExpertLayout(anchor_, file->tensors()));
    ASSIGN_OR_RETURN(const manifest::ExpertFileFacts facts,
                     manifest::DescribeExpertFile(*file));
    ASSIGN_OR_RETURN(const crypto::FileDigest digest, crypto::DigestFile(path));
    manifest::ExpertManifest manifest;
    manifest.federation = "imported";
    manifest.contribution = name;
    manifest.contributor = options_.name;
    manifest.anchor_digest = anchor.digest;
    manifest.blob = {digest.sha256, digest.size};
    manifest.widths = layout.widths;
    manifest.tensors = facts.tensors;
    manifest.router_digest = facts.router_digest;
    manifest.method.recipe = "imported";
    manifest.method.router_method = "difference to expert 0";
    manifest.method.software = "tributary";
    manifest.approval = {.approver = "operator",
                         .policy_version = "",
                         .time_s = 0,
                         .mode = "automatic"};
    return manifest;
  }

  Status CompareWithMixture(const fs::path& folder) {
    const Tensor ids = at::arange(kSplitWindows * kSplitLength, at::kLong)
                           .mul(7919)
                           .remainder(anchor_.vocab_size)
                           .view({kSplitWindows, kSplitLength});
    const auto logits = [&](const fs::path& path) -> StatusOr<Tensor> {
      ASSIGN_OR_RETURN(const model::CausalLm lm,
                       model::LoadModel(path, options_.load));
      at::NoGradGuard no_gradients;
      return model::Logits(lm, model::HiddenStates(lm, ids));
    };
    ASSIGN_OR_RETURN(const Tensor wanted, logits(mixture_.path()));
    if (options_.on_progress) {
      options_.on_progress(0.8, "comparing logits");
    }
    ASSIGN_OR_RETURN(const Tensor got, logits(folder));
    result_.max_logit_difference = (got - wanted).abs().max().item<double>();
    result_.compared_tokens = ids.numel();
    const double allowed =
        result_.rounded ? kRoundedTolerance : kSplitTolerance;
    if (!(result_.max_logit_difference <= allowed)) {
      return DataLoss(
          "the release's logits differ by {:.3g} from the mixture's, wanted at "
          "most {:.3g}; nothing was written",
          result_.max_logit_difference, allowed);
    }
    return absl::OkStatus();
  }

  const HfDirectory& mixture_;
  const SplitOptions& options_;
  ModelConfig anchor_;
  SplitResult result_;
};

}  // namespace

StatusOr<SplitResult> SplitMixture(const SplitOptions& options) {
  return model::CatchTorch([&]() -> StatusOr<SplitResult> {
    ASSIGN_OR_RETURN(const auto mixture,
                     HfDirectory::Open(options.model_directory));
    const ModelConfig& config = mixture->config();
    if (config.num_experts < 2) {
      return InvalidArgument(
          "got a {} with {} experts, wanted a mixture of 2 or more",
          model_format::ModelTypeName(config.type), config.num_experts);
    }
    ASSIGN_OR_RETURN(PendingOutput folder,
                     PendingOutput::CreateFolder(options.output));
    ASSIGN_OR_RETURN(const SplitResult result,
                     Splitter(*mixture, options).Run(folder.path()));
    RETURN_IF_ERROR(folder.Publish());
    return result;
  });
}

}  // namespace tributary::coordinator
