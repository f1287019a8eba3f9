#include "coordinator/merge/merge.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

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

// Rows held in memory at a time.
constexpr uint64_t kBlockBytes = 32u << 20;

Status CheckAnchors(const MergePlan& plan) {
  for (const MergeExpert& expert : plan.experts) {
    if (expert.anchor_digest != plan.anchor.digest) {
      return InvalidArgument(
          "contributions/{}: made for anchor {}, the release has anchor {} "
          "({}); leave it out or merge it with its own anchor",
          expert.contribution(), expert.anchor_digest, plan.anchor.digest,
          plan.anchor.name);
    }
    if (static_cast<int64_t>(expert.entry.widths.size()) !=
        plan.anchor.num_layers) {
      return InvalidArgument(
          "contributions/{}: {} widths, the anchor has {} layers",
          expert.contribution(), expert.entry.widths.size(),
          plan.anchor.num_layers);
    }
  }
  return absl::OkStatus();
}

// A model without experts is the anchor and does not route.
Status CheckTopK(const MergePlan& plan) {
  const auto experts = static_cast<int64_t>(plan.experts.size()) + 1;
  if (experts > 1 && experts < plan.anchor.routing.top_k) {
    return FailedPrecondition(
        "got {} experts with the public one, every token chooses {}; wait for "
        "more contributions or publish the anchor with a smaller top_k",
        experts, plan.anchor.routing.top_k);
  }
  return absl::OkStatus();
}

// Sorts by contribution and refuses duplicates.
Status SortExperts(std::vector<MergeExpert>& experts) {
  std::sort(experts.begin(), experts.end(),
            [](const MergeExpert& a, const MergeExpert& b) {
              return a.contribution() < b.contribution();
            });
  for (size_t i = 1; i < experts.size(); ++i) {
    if (experts[i].contribution() == experts[i - 1].contribution()) {
      return InvalidArgument("contributions/{} is listed twice",
                             experts[i].contribution());
    }
  }
  return absl::OkStatus();
}

std::vector<safetensors::TensorSpec> RouterTensors(const MergePlan& plan) {
  const auto experts = static_cast<int64_t>(plan.experts.size()) + 1;
  std::vector<safetensors::TensorSpec> tensors;
  for (int64_t l = 0; l < plan.anchor.num_layers; ++l) {
    tensors.push_back({model_format::RouterWeight(l),
                       DType::kF32,
                       {experts, plan.anchor.hidden_size}});
    tensors.push_back({model_format::RouterBias(l), DType::kF32, {experts}});
  }
  return tensors;
}

// The router file, hashed while it is written.
class RouterWriter {
 public:
  static StatusOr<RouterWriter> Create(
      const std::filesystem::path& path,
      const std::vector<safetensors::TensorSpec>& tensors) {
    ASSIGN_OR_RETURN(const std::string header,
                     safetensors::SerializeHeader(tensors));
    ASSIGN_OR_RETURN(auto file, safetensors::Writer::Create(path, tensors));
    return RouterWriter(std::move(file), header);
  }

  Status Append(std::span<const std::byte> bytes) {
    digest_.Update(bytes);
    return file_->Append(bytes);
  }

  StatusOr<manifest::BlobName> Finish() {
    RETURN_IF_ERROR(file_->Finish());
    return manifest::BlobName{digest_.Hex(), digest_.size()};
  }

 private:
  RouterWriter(std::unique_ptr<safetensors::Writer> file,
               const std::string& header)
      : file_(std::move(file)) {
    digest_.Update(header);
  }

  std::unique_ptr<safetensors::Writer> file_;
  crypto::Sha256 digest_;
};

// Layers that are in memory: `stride` bytes of every expert, one expert behind
// the other.
struct RowBlock {
  std::span<const std::byte> rows;
  size_t stride = 0;
};

// Writes one tensor: zeros of the public expert, then the piece [from, from +
// bytes) of every expert's rows. `column` is scratch.
Status AppendTensor(const RowBlock& block, size_t from, size_t bytes,
                    std::vector<std::byte>& column, RouterWriter& writer) {
  column.assign(bytes, std::byte{0});
  for (size_t at = from; at < block.rows.size(); at += block.stride) {
    column.insert(column.end(), block.rows.data() + at,
                  block.rows.data() + at + bytes);
  }
  return writer.Append(column);
}

Status AppendLayers(const RowBlock& block, int64_t hidden_size, int64_t experts,
                    int64_t count, RouterWriter& writer) {
  const size_t row_bytes = static_cast<size_t>(hidden_size) * sizeof(float);
  std::vector<std::byte> column;
  column.reserve(row_bytes * static_cast<size_t>(experts + 1));
  size_t from = 0;
  for (int64_t l = 0; l < count; ++l) {
    for (const size_t bytes : {row_bytes, sizeof(float)}) {
      RETURN_IF_ERROR(AppendTensor(block, from, bytes, column, writer));
      from += bytes;
    }
  }
  return absl::OkStatus();
}

StatusOr<manifest::BlobName> WriteRouter(
    const MergePlan& plan, const std::filesystem::path& router_file) {
  ASSIGN_OR_RETURN(RouterWriter writer,
                   RouterWriter::Create(router_file, RouterTensors(plan)));
  const int64_t layers = plan.anchor.num_layers;
  std::vector<RowReader> readers;
  readers.reserve(plan.experts.size());
  for (const MergeExpert& expert : plan.experts) {
    readers.emplace_back(expert, layers, plan.anchor.hidden_size);
  }
  const auto experts = static_cast<int64_t>(readers.size());
  const uint64_t layer_bytes =
      (static_cast<uint64_t>(plan.anchor.hidden_size) + 1) * sizeof(float);
  const uint64_t all_rows = layer_bytes * std::max<uint64_t>(1, readers.size());
  const int64_t block =
      std::clamp<int64_t>(static_cast<int64_t>(kBlockBytes / all_rows), 1,
                          std::max<int64_t>(layers, 1));
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(
      static_cast<uint64_t>(block) * layer_bytes * readers.size());
  for (int64_t first = 0; first < layers; first += block) {
    const int64_t count = std::min(block, layers - first);
    const size_t stride = static_cast<uint64_t>(count) * layer_bytes;
    const std::span<std::byte> rows(memory.get(), stride * readers.size());
    for (size_t e = 0; e < readers.size(); ++e) {
      RETURN_IF_ERROR(readers[e].Read(count, rows.subspan(e * stride, stride)));
    }
    // Every row is hashed twice: with what its owner signed, and with the
    // router file. Neither waits for the other.
    const std::jthread owners([&] {
      for (size_t e = 0; e < readers.size(); ++e) {
        readers[e].Hash(rows.subspan(e * stride, stride));
      }
    });
    RETURN_IF_ERROR(AppendLayers({rows, stride}, plan.anchor.hidden_size,
                                 experts, count, writer));
  }
  for (const RowReader& reader : readers) {
    RETURN_IF_ERROR(reader.Finish());
  }
  return writer.Finish();
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

StatusOr<MergePlan> PlanOfRelease(const manifest::ReleaseManifest& release,
                                  const std::filesystem::path& router_file) {
  ASSIGN_OR_RETURN(const crypto::FileDigest digest,
                   crypto::DigestFile(router_file));
  if (manifest::BlobName{digest.sha256, digest.size} != release.router_blob) {
    return InvalidArgument(
        "{}: got SHA-256 {} and {} bytes, the release names {}; fetch the "
        "release again",
        router_file.string(), digest.sha256, digest.size,
        release.router_blob.ToString());
  }
  ASSIGN_OR_RETURN(
      const std::shared_ptr<const safetensors::File> router,
      safetensors::File::Open(
          router_file, {.limits = safetensors::HeaderLimits::ForModel()}));
  const safetensors::TensorInfo* rows =
      router->Find(model_format::RouterWeight(0));
  const auto experts = static_cast<int64_t>(release.experts.size()) + 1;
  if (rows == nullptr || rows->shape.size() != 2 || rows->shape[0] != experts) {
    return InvalidArgument("{}: wanted rows of {} experts in layer 0",
                           router_file.string(), experts);
  }
  MergePlan plan;
  plan.anchor = {
      .name = release.anchor.name,
      .digest = release.anchor.digest,
      .num_layers = static_cast<int64_t>(router->tensors().size()) / 2,
      .hidden_size = rows->shape[1],
      .routing = release.routing};
  for (int64_t e = 1; e < experts; ++e) {
    plan.experts.push_back(
        {.anchor_digest = release.anchor.digest,
         .entry = release.experts[static_cast<size_t>(e - 1)],
         .rows = RowsInRouter{router, e}});
  }
  return plan;
}

StatusOr<manifest::ReleaseManifest> Merge(
    MergePlan plan, const std::filesystem::path& router_file) {
  RETURN_IF_ERROR(SortExperts(plan.experts));
  RETURN_IF_ERROR(CheckAnchors(plan));
  RETURN_IF_ERROR(CheckTopK(plan));
  manifest::ReleaseManifest release;
  ASSIGN_OR_RETURN(release.router_blob, WriteRouter(plan, router_file));
  release.anchor = {plan.anchor.name, plan.anchor.digest};
  release.routing = plan.anchor.routing;
  for (MergeExpert& expert : plan.experts) {
    release.experts.push_back(std::move(expert.entry));
  }
  return release;
}

}  // namespace tributary::coordinator
