#pragma once

// Native release directories made in place, as the server lays them out.

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/release_manifest.h"
#include "common/model/load.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"

namespace tributary::coordinator {

// Writes an expert as an expert file.
inline Status WriteExpert(const model::Expert& expert,
                          const std::filesystem::path& path) {
  using model_format::MlpPart;
  model::NamedTensors tensors;
  for (size_t i = 0; i < expert.layers.size(); ++i) {
    const auto l = static_cast<int64_t>(i);
    if (const auto& ffn = expert.layers[i]) {
      tensors.emplace_back(model_format::ExpertMlp(l, MlpPart::kGate),
                           ffn->gate_FD.to(at::kBFloat16));
      tensors.emplace_back(model_format::ExpertMlp(l, MlpPart::kUp),
                           ffn->up_FD.to(at::kBFloat16));
      tensors.emplace_back(model_format::ExpertMlp(l, MlpPart::kDown),
                           ffn->down_DF.to(at::kBFloat16));
    }
    tensors.emplace_back(model_format::RouterWeight(l), expert.router_D[i]);
    tensors.emplace_back(model_format::RouterBias(l), expert.router_bias[i]);
  }
  return model::WriteTensors(path, tensors);
}

// Writes a release over a copy of `anchor`. Experts must be sorted by name.
inline Status WriteRelease(const std::filesystem::path& anchor,
                           const std::vector<model::Expert>& experts,
                           bool renormalise,
                           const std::filesystem::path& output) {
  namespace fs = std::filesystem;
  RETURN_IF_ERROR(MakeDirectories(output / "experts"));
  fs::copy(anchor, output / "anchor", fs::copy_options::recursive);
  manifest::ReleaseManifest manifest;
  manifest.anchor = {.name = "tiny", .digest = crypto::Sha256Hex("anchor")};
  manifest.routing = {.top_k = 2, .renormalise = renormalise};
  for (const model::Expert& expert : experts) {
    const fs::path path = output / "experts" / (expert.name + ".safetensors");
    RETURN_IF_ERROR(WriteExpert(expert, path));
    ASSIGN_OR_RETURN(const auto digest, crypto::DigestFile(path));
    manifest.experts.push_back(
        {.contribution = expert.name,
         .contributor = "site",
         .blob = {.sha256 = digest.sha256, .size = digest.size},
         .manifest_digest = crypto::Sha256Hex(expert.name),
         .widths = expert.widths()});
  }
  model::NamedTensors routers;
  const size_t layers = experts.empty() ? 0 : experts[0].layers.size();
  for (size_t l = 0; l < layers; ++l) {
    std::vector<at::Tensor> rows = {at::zeros_like(experts[0].router_D[l])};
    std::vector<at::Tensor> biases = {at::zeros({})};
    for (const model::Expert& expert : experts) {
      rows.push_back(expert.router_D[l]);
      biases.push_back(expert.router_bias[l]);
    }
    routers.emplace_back(model_format::RouterWeight(static_cast<int64_t>(l)),
                         at::stack(rows));
    routers.emplace_back(model_format::RouterBias(static_cast<int64_t>(l)),
                         at::stack(biases));
  }
  const fs::path router = output / "router.safetensors";
  RETURN_IF_ERROR(model::WriteTensors(router, routers));
  ASSIGN_OR_RETURN(const auto digest, crypto::DigestFile(router));
  manifest.router_blob = {.sha256 = digest.sha256, .size = digest.size};
  ASSIGN_OR_RETURN(const std::string json, manifest.ToJson());
  return WriteFileAtomic(output / "release.json", json);
}

}  // namespace tributary::coordinator
