#include "coordinator/merge/merge.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/model_format/model_config.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/reader.h"
#include "common/safetensors/writer.h"
#include "coordinator/merge/release_directory.h"

namespace tributary::coordinator {
namespace {

using safetensors::DType;
using safetensors::TensorInfo;
using Files = std::vector<std::shared_ptr<const safetensors::File>>;

Status CheckAnchors(const MergePlan& plan) {
  for (const MergeExpert& expert : plan.experts) {
    const manifest::ExpertManifest& manifest = expert.manifest;
    if (manifest.anchor_digest != plan.anchor.digest) {
      return InvalidArgument(
          "contributions/{}: made for anchor {}, the release has anchor {} "
          "({}); leave it out or merge it with its own anchor",
          manifest.contribution, manifest.anchor_digest, plan.anchor.digest,
          plan.anchor.name);
    }
    if (static_cast<int64_t>(manifest.widths.size()) !=
        plan.anchor.num_layers) {
      return InvalidArgument(
          "contributions/{}: {} widths, the anchor has {} "
          "layers",
          manifest.contribution, manifest.widths.size(),
          plan.anchor.num_layers);
    }
  }
  return absl::OkStatus();
}

// Sorts by contribution and refuses duplicates.
Status SortExperts(std::vector<MergeExpert>& experts) {
  std::sort(experts.begin(), experts.end(),
            [](const MergeExpert& a, const MergeExpert& b) {
              return a.manifest.contribution < b.manifest.contribution;
            });
  for (size_t i = 1; i < experts.size(); ++i) {
    if (experts[i].manifest.contribution ==
        experts[i - 1].manifest.contribution) {
      return InvalidArgument("contributions/{} is listed twice",
                             experts[i].manifest.contribution);
    }
  }
  return absl::OkStatus();
}

// The bytes of one expert's tensor, which must be float32 of `bytes` bytes.
StatusOr<std::vector<std::byte>> ReadRow(const safetensors::File& file,
                                         const std::string& name,
                                         uint64_t bytes) {
  const TensorInfo* tensor = file.Find(name);
  if (tensor == nullptr || tensor->dtype != DType::kF32 ||
      tensor->bytes() != bytes) {
    return InvalidArgument("{}: wanted the tensor {} in float32 with {} bytes",
                           file.path().string(), name, bytes);
  }
  std::vector<std::byte> row(bytes);
  RETURN_IF_ERROR(file.Read(*tensor, 0, row));
  return row;
}

// Writes the rows of one tensor: zeros for the public expert, then one of each
// file.
Status AppendRows(const Files& files, const std::string& name,
                  uint64_t row_bytes, safetensors::Writer& writer) {
  RETURN_IF_ERROR(writer.Append(std::vector<std::byte>(row_bytes)));
  for (const auto& file : files) {
    ASSIGN_OR_RETURN(const std::vector<std::byte> row,
                     ReadRow(*file, name, row_bytes));
    RETURN_IF_ERROR(writer.Append(row));
  }
  return absl::OkStatus();
}

Status WriteRouter(const MergePlan& plan,
                   const std::filesystem::path& router_file) {
  Files files;
  for (const MergeExpert& expert : plan.experts) {
    ASSIGN_OR_RETURN(auto file, safetensors::File::Open(expert.file));
    files.push_back(std::move(file));
  }
  const int64_t experts = static_cast<int64_t>(files.size()) + 1;
  const int64_t hidden = plan.anchor.hidden_size;
  std::vector<safetensors::TensorSpec> tensors;
  for (int64_t l = 0; l < plan.anchor.num_layers; ++l) {
    tensors.push_back(
        {model_format::RouterWeight(l), DType::kF32, {experts, hidden}});
    tensors.push_back({model_format::RouterBias(l), DType::kF32, {experts}});
  }
  ASSIGN_OR_RETURN(const auto writer,
                   safetensors::Writer::Create(router_file, tensors));
  const uint64_t row_bytes = static_cast<uint64_t>(hidden) * sizeof(float);
  for (int64_t l = 0; l < plan.anchor.num_layers; ++l) {
    RETURN_IF_ERROR(
        AppendRows(files, model_format::RouterWeight(l), row_bytes, *writer));
    RETURN_IF_ERROR(
        AppendRows(files, model_format::RouterBias(l), sizeof(float), *writer));
  }
  return writer->Finish();
}

}  // namespace

StatusOr<MergeAnchor> MergeAnchorOf(const manifest::AnchorManifest& anchor,
                                    const std::string& router_mode) {
  MergeAnchor result;
  result.name = anchor.name;
  ASSIGN_OR_RETURN(result.digest, anchor.Digest());
  result.num_layers = anchor.model.num_layers;
  result.hidden_size = anchor.model.hidden_size;
  result.routing.mode = router_mode;
  result.routing.top_k = anchor.expert_policy.top_k;
  result.routing.renormalise = anchor.expert_policy.renormalise;
  return result;
}

StatusOr<MergeAnchor> ReadMergeAnchor(const std::filesystem::path& folder,
                                      const std::string& router_mode) {
  const StatusOr<std::string> json = ReadFile(folder / kAnchorManifestFile);
  if (json.ok()) {
    ASSIGN_OR_RETURN(const manifest::AnchorManifest anchor,
                     manifest::AnchorManifest::FromJson(*json));
    return MergeAnchorOf(anchor, router_mode);
  }
  const StatusOr<std::string> release_json =
      ReadFile(ReleaseDirectory(folder / "..").manifest());
  if (!release_json.ok()) {
    return NotFound(
        "{}: has no {} and no release.json beside it; give the anchor folder "
        "of a coordinator's home or of a fetched release",
        folder.string(), kAnchorManifestFile);
  }
  ASSIGN_OR_RETURN(const manifest::ReleaseManifest release,
                   manifest::ReleaseManifest::FromJson(*release_json));
  ASSIGN_OR_RETURN(const model_format::ModelConfig config,
                   model_format::LoadModelConfig(folder));
  MergeAnchor result;
  result.name = release.anchor.name;
  result.digest = release.anchor.digest;
  result.num_layers = config.num_layers;
  result.hidden_size = config.hidden_size;
  result.routing = release.routing;
  result.routing.mode = router_mode;
  return result;
}

StatusOr<manifest::ReleaseManifest> Merge(
    MergePlan plan, const std::filesystem::path& router_file) {
  RETURN_IF_ERROR(SortExperts(plan.experts));
  RETURN_IF_ERROR(CheckAnchors(plan));
  RETURN_IF_ERROR(WriteRouter(plan, router_file));
  ASSIGN_OR_RETURN(const crypto::FileDigest router,
                   crypto::DigestFile(router_file));

  manifest::ReleaseManifest release;
  release.anchor = {plan.anchor.name, plan.anchor.digest};
  for (const MergeExpert& expert : plan.experts) {
    const manifest::ExpertManifest& manifest = expert.manifest;
    ASSIGN_OR_RETURN(const std::string digest, manifest.Digest());
    release.experts.push_back({.contribution = manifest.contribution,
                               .contributor = manifest.contributor,
                               .blob = manifest.blob,
                               .manifest_digest = digest,
                               .widths = manifest.widths});
  }
  release.routing = plan.anchor.routing;
  release.router_blob = {router.sha256, router.size};
  return release;
}

}  // namespace tributary::coordinator
