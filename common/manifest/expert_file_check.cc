#include "common/manifest/expert_file_check.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include "common/crypto/digest.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/model_config.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/dtype.h"
#include "common/safetensors/shape.h"

namespace tributary::manifest {
namespace {

using safetensors::TensorInfo;
using safetensors::TensorSpec;

constexpr uint64_t kPieceBytes = 1 << 20;

// Feeds a tensor's bytes to `hash`.
Status HashTensor(const safetensors::File& file, const TensorInfo& tensor,
                  const CancellationToken* cancellation,
                  std::span<std::byte> buffer, crypto::Sha256& hash) {
  for (uint64_t offset = 0; offset < tensor.bytes(); offset += buffer.size()) {
    if (cancellation != nullptr) {
      RETURN_IF_ERROR(cancellation->Check());
    }
    const std::span<std::byte> piece = buffer.first(static_cast<size_t>(
        std::min<uint64_t>(buffer.size(), tensor.bytes() - offset)));
    RETURN_IF_ERROR(file.Read(tensor, offset, piece));
    hash.Update(std::span<const std::byte>(piece));
  }
  return absl::OkStatus();
}

std::string Describe(std::string_view dtype,
                     const std::vector<int64_t>& sizes) {
  const auto shape = safetensors::Shape::FromSpan(sizes);
  return fmt::format("{} {}", dtype,
                     shape ? shape->ToString() : "[too many dimensions]");
}

// The manifest's list against another, which is called `whose`.
template <typename Other>
Status CompareTensors(const ExpertManifest& manifest,
                      const std::vector<Other>& others,
                      std::string_view whose) {
  const size_t common = std::min(manifest.tensors.size(), others.size());
  for (size_t i = 0; i < common; ++i) {
    const ExpertManifest::Tensor& tensor = manifest.tensors[i];
    const Other& other = others[i];
    const std::string_view dtype = safetensors::DTypeName(other.dtype);
    if (tensor.name != other.name) {
      return InvalidArgument(
          "expert manifest: tensors[{}].name: got \"{}\", wanted \"{}\" as {}",
          i, tensor.name, other.name, whose);
    }
    if (tensor.dtype != dtype || !(other.shape == tensor.shape)) {
      return InvalidArgument(
          "expert manifest: tensors[{}] \"{}\": got {}, wanted {} as {}", i,
          tensor.name, Describe(tensor.dtype, tensor.shape),
          Describe(dtype, other.shape.ToVector()), whose);
    }
  }
  if (manifest.tensors.size() != others.size()) {
    return InvalidArgument("expert manifest: tensors: got {}, wanted {} as {}",
                           manifest.tensors.size(), others.size(), whose);
  }
  return absl::OkStatus();
}

Status CheckWidths(const ExpertManifest& manifest,
                   const AnchorManifest& anchor) {
  const AnchorManifest::ExpertPolicy& policy = anchor.expert_policy;
  if (manifest.widths.size() != static_cast<size_t>(anchor.model.num_layers)) {
    return InvalidArgument(
        "expert manifest: widths: got {}, wanted {}, one per layer",
        manifest.widths.size(), anchor.model.num_layers);
  }
  bool any = false;
  for (size_t l = 0; l < manifest.widths.size(); ++l) {
    const int64_t width = manifest.widths[l];
    if (static_cast<int64_t>(l) < policy.first_layer && width != 0) {
      return InvalidArgument(
          "expert manifest: widths[{}]: got {}, wanted 0: experts begin at "
          "layer {}",
          l, width, policy.first_layer);
    }
    if (width > policy.max_width || width % anchor.model.block != 0) {
      return InvalidArgument(
          "expert manifest: widths[{}]: got {}, wanted a multiple of {} up to "
          "{}",
          l, width, anchor.model.block, policy.max_width);
    }
    any = any || width > 0;
  }
  if (!any) {
    return InvalidArgument(
        "expert manifest: widths: got 0 in every layer, wanted a channel");
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<int64_t> RanksOf(const ExpertManifest& manifest) {
  std::map<std::string_view, int64_t> factors;
  for (const ExpertManifest::Tensor& tensor : manifest.tensors) {
    if (tensor.name.ends_with(".lora_A.weight") && tensor.shape.size() == 2) {
      factors.emplace(tensor.name, tensor.shape[0]);
    }
  }
  std::vector<int64_t> ranks;
  if (factors.empty()) {
    return ranks;
  }
  for (size_t l = 0; l < manifest.widths.size(); ++l) {
    const auto found = factors.find(model_format::ExpertFactorA(
        static_cast<int64_t>(l), model_format::MlpPart::kGate));
    ranks.push_back(found == factors.end() ? 0 : found->second);
  }
  return ranks;
}

StatusOr<ExpertFileFacts> DescribeExpertFile(
    const safetensors::File& file, const CancellationToken* cancellation) {
  ExpertFileFacts facts;
  std::vector<std::byte> buffer(kPieceBytes);
  for (const TensorInfo& tensor : file.tensors()) {
    crypto::Sha256 hash;
    RETURN_IF_ERROR(HashTensor(file, tensor, cancellation, buffer, hash));
    facts.tensors.push_back(
        {.name = tensor.name,
         .dtype = std::string(safetensors::DTypeName(tensor.dtype)),
         .shape = tensor.shape.ToVector(),
         .sha256 = hash.Hex()});
  }
  crypto::Sha256 router;
  for (int64_t l = 0;; ++l) {
    const TensorInfo* weight = file.Find(model_format::RouterWeight(l));
    const TensorInfo* bias = file.Find(model_format::RouterBias(l));
    if (weight == nullptr && bias == nullptr && l > 0) {
      break;
    }
    for (const TensorInfo* tensor : {weight, bias}) {
      if (tensor == nullptr) {
        return InvalidArgument(
            "{}: layer {} has no complete router row, wanted {} and {}",
            file.path().string(), l, model_format::RouterWeight(l),
            model_format::RouterBias(l));
      }
      RETURN_IF_ERROR(HashTensor(file, *tensor, cancellation, buffer, router));
    }
  }
  facts.router_digest = router.Hex();
  return facts;
}

Status CheckExpertForAnchor(const ExpertManifest& manifest,
                            const AnchorManifest& anchor) {
  ASSIGN_OR_RETURN(const std::string digest, anchor.Digest());
  if (manifest.anchor_digest != digest) {
    return FailedPrecondition(
        "expert manifest: anchor_digest: got {}, wanted {} (anchors/{}); train "
        "on that anchor",
        manifest.anchor_digest, digest, anchor.name);
  }
  RETURN_IF_ERROR(CheckWidths(manifest, anchor));
  model_format::ModelConfig config;
  config.hidden_size = anchor.model.hidden_size;
  config.intermediate_size = anchor.model.intermediate_size;
  config.num_layers = anchor.model.num_layers;
  ASSIGN_OR_RETURN(
      const std::vector<TensorSpec> wanted,
      model_format::ExpertTensors(
          config, {.widths = manifest.widths, .ranks = RanksOf(manifest)},
          {.max_width = anchor.expert_policy.max_width}));
  RETURN_IF_ERROR(CompareTensors(manifest, wanted, "the widths imply"));
  // Length, header and data; what the header says is checked with the file.
  uint64_t data_bytes = 8;
  for (const TensorSpec& spec : wanted) {
    ASSIGN_OR_RETURN(const uint64_t tensor_bytes,
                     safetensors::TensorBytes(spec));
    data_bytes += tensor_bytes;
  }
  const uint64_t most_bytes =
      data_bytes + safetensors::HeaderLimits::ForExpert().max_header_bytes;
  if (manifest.blob.size < data_bytes || manifest.blob.size > most_bytes) {
    return InvalidArgument(
        "expert manifest: blob: got a size of {} bytes, wanted {} to {} as the "
        "tensors imply",
        manifest.blob.size, data_bytes, most_bytes);
  }
  return absl::OkStatus();
}

Status CheckExpertHeader(const ExpertManifest& manifest,
                         const std::vector<TensorInfo>& tensors) {
  return CompareTensors(manifest, tensors, "in the file");
}

Status CheckExpertFile(const ExpertManifest& manifest,
                       const safetensors::File& file,
                       const CancellationToken* cancellation) {
  RETURN_IF_ERROR(CheckExpertHeader(manifest, file.tensors()));
  if (manifest.blob.size != file.file_bytes()) {
    return InvalidArgument(
        "expert manifest: blob: got a size of {} bytes, wanted {} as the file",
        manifest.blob.size, file.file_bytes());
  }
  ASSIGN_OR_RETURN(const ExpertFileFacts facts,
                   DescribeExpertFile(file, cancellation));
  for (size_t i = 0; i < facts.tensors.size(); ++i) {
    if (manifest.tensors[i].sha256 != facts.tensors[i].sha256) {
      return InvalidArgument(
          "expert manifest: tensors[{}] \"{}\": got sha256 {}, wanted {} as in "
          "the file",
          i, facts.tensors[i].name, manifest.tensors[i].sha256,
          facts.tensors[i].sha256);
    }
  }
  if (manifest.router_digest != facts.router_digest) {
    return InvalidArgument(
        "expert manifest: router_digest: got {}, wanted {} as in the file",
        manifest.router_digest, facts.router_digest);
  }
  return absl::OkStatus();
}

}  // namespace tributary::manifest
