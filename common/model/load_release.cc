#include "common/model/load_release.h"

#include "common/base/files.h"
#include "common/model/expert_beside.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"

namespace tributary::model {
namespace {

namespace fs = std::filesystem;

// The rows [E, D] and biases [E] of a layer, checked against the anchor.
Status ReadRouter(const safetensors::File& file, int64_t l, int64_t experts,
                  const LoadOptions& options, int64_t hidden_size,
                  DecoderLayer* layer) {
  ASSIGN_OR_RETURN(const Tensor rows,
                   ReadTensor(file, model_format::RouterWeight(l), at::kFloat));
  ASSIGN_OR_RETURN(const Tensor bias,
                   ReadTensor(file, model_format::RouterBias(l), at::kFloat));
  if (rows.sizes() != at::IntArrayRef({experts, hidden_size}) ||
      bias.sizes() != at::IntArrayRef({experts})) {
    return InvalidArgument(
        "{}: layer {} has rows of {} elements and {} biases, wanted [{}, {}] "
        "and [{}]",
        file.path().string(), l, rows.numel(), bias.numel(), experts,
        hidden_size, experts);
  }
  layer->router_ED = rows.to(options.device);
  // A bias of zeros is none.
  layer->router_bias_E = bias.count_nonzero().item<int64_t>() == 0
                             ? Tensor()
                             : bias.to(options.device);
  return absl::OkStatus();
}

}  // namespace

bool IsRelease(const fs::path& directory) {
  std::error_code error;
  return fs::is_regular_file(directory / kReleaseManifestFile, error);
}

fs::path ModelFilesDirectory(const fs::path& directory) {
  return IsRelease(directory) ? directory / kReleaseAnchorFolder : directory;
}

StatusOr<manifest::ReleaseManifest> ReadReleaseManifest(
    const fs::path& directory) {
  const fs::path path = directory / kReleaseManifestFile;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  StatusOr<manifest::ReleaseManifest> manifest =
      manifest::ReleaseManifest::FromJson(text);
  if (!manifest.ok()) {
    return Annotate(manifest.status(), path.string());
  }
  return manifest;
}

StatusOr<CausalLm> LoadRelease(const fs::path& directory,
                               const LoadOptions& options) {
  ASSIGN_OR_RETURN(const manifest::ReleaseManifest manifest,
                   ReadReleaseManifest(directory));
  ASSIGN_OR_RETURN(CausalLm lm,
                   LoadModel(directory / kReleaseAnchorFolder, options));
  if (lm.config.is_moe()) {
    return InvalidArgument("{}: the anchor is a mixture, wanted a dense model",
                           directory.string());
  }
  lm.top_k = manifest.routing.top_k;
  lm.renormalise = manifest.routing.renormalise;
  if (manifest.experts.empty()) {
    return lm;
  }
  for (const auto& entry : manifest.experts) {
    const fs::path path = directory / kReleaseExpertFolder /
                          (entry.contribution + ".safetensors");
    ASSIGN_OR_RETURN(Expert expert, LoadExpertBeside(lm, path, {}, options));
    if (expert.widths() != entry.widths) {
      return InvalidArgument(
          "{}: its widths are not those that the manifest lists",
          path.string());
    }
    expert.name = entry.contribution;
    RETURN_IF_ERROR(AttachExpert(lm, std::move(expert)));
  }
  ASSIGN_OR_RETURN(const auto routers,
                   safetensors::File::Open(
                       directory / kReleaseRouterFile,
                       {.limits = safetensors::HeaderLimits::ForExpert()}));
  for (int64_t l = options.first_layer; l < lm.num_layers(); ++l) {
    RETURN_IF_ERROR(ReadRouter(*routers, l, lm.num_experts(), options,
                               lm.config.hidden_size, &lm.layers[l]));
  }
  return lm;
}

}  // namespace tributary::model
