#include "coordinator/admission/gates.h"

#include <algorithm>
#include <cstddef>

#include "common/base/text.h"
#include "common/crypto/digest.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/reader.h"
#include "coordinator/storage/settings.h"

namespace tributary::coordinator {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

// Feeds a tensor's bytes to `hash`, and to `second` when there is one.
Status HashTensor(const safetensors::File& file,
                  const safetensors::TensorInfo& tensor, crypto::Sha256& hash,
                  crypto::Sha256* second) {
  std::vector<std::byte> piece(std::min<uint64_t>(kPieceBytes, tensor.bytes()));
  for (uint64_t at = 0; at < tensor.bytes(); at += piece.size()) {
    piece.resize(std::min<uint64_t>(kPieceBytes, tensor.bytes() - at));
    RETURN_IF_ERROR(file.Read(tensor, at, piece));
    hash.Update(piece);
    if (second != nullptr) {
      second->Update(piece);
    }
  }
  return absl::OkStatus();
}

}  // namespace

Status CheckWidths(const manifest::ExpertManifest& expert,
                   const manifest::AnchorManifest& anchor) {
  const manifest::AnchorManifest::ExpertPolicy& policy = anchor.expert_policy;
  if (static_cast<int64_t>(expert.widths.size()) != anchor.model.num_layers) {
    return InvalidArgument("widths: got {} layers, wanted {} as the anchor",
                           expert.widths.size(), anchor.model.num_layers);
  }
  bool any = false;
  for (size_t l = 0; l < expert.widths.size(); ++l) {
    const int64_t width = expert.widths[l];
    if (static_cast<int64_t>(l) < policy.first_layer && width != 0) {
      return InvalidArgument(
          "widths: layer {} has width {}, the policy allows experts from layer "
          "{} on",
          l, width, policy.first_layer);
    }
    if (width < 0 || width > policy.max_width ||
        width % anchor.model.block != 0) {
      return InvalidArgument(
          "widths: layer {} has width {}, wanted a multiple of {} up to {}", l,
          width, anchor.model.block, policy.max_width);
    }
    any |= width > 0;
  }
  if (!any) {
    return InvalidArgument("widths: all are 0, there is no expert");
  }
  if (expert.blob.size > kMaxExpertBytes) {
    return InvalidArgument("the file has {}, wanted at most {}",
                           HumanBytes(expert.blob.size),
                           HumanBytes(kMaxExpertBytes));
  }
  return absl::OkStatus();
}

Status CheckTensorList(const manifest::ExpertManifest& expert,
                       const manifest::AnchorManifest& anchor) {
  model_format::ModelConfig config;
  config.num_layers = anchor.model.num_layers;
  config.hidden_size = anchor.model.hidden_size;
  config.intermediate_size = anchor.model.intermediate_size;
  ASSIGN_OR_RETURN(const std::vector<safetensors::TensorSpec> wanted,
                   model_format::ExpertTensors(
                       config, {expert.widths},
                       {.max_width = anchor.expert_policy.max_width}));
  for (size_t i = 0; i < std::max(wanted.size(), expert.tensors.size()); ++i) {
    if (i >= expert.tensors.size()) {
      return InvalidArgument("tensors: {} is missing", wanted[i].name);
    }
    const manifest::ExpertManifest::Tensor& got = expert.tensors[i];
    if (i >= wanted.size()) {
      return InvalidArgument("tensors: {} is not expected", got.name);
    }
    if (got.name != wanted[i].name ||
        got.dtype != safetensors::DTypeName(wanted[i].dtype) ||
        !(wanted[i].shape == got.shape)) {
      return InvalidArgument("tensors: entry {} is {} {}, wanted {} {} {}", i,
                             got.name, got.dtype, wanted[i].name,
                             safetensors::DTypeName(wanted[i].dtype),
                             wanted[i].shape.ToString());
    }
  }
  return absl::OkStatus();
}

Status CheckFileAgainstManifest(const std::string& path,
                                const manifest::ExpertManifest& expert) {
  ASSIGN_OR_RETURN(const auto file, safetensors::File::Open(path));
  if (!file->metadata().empty()) {
    return InvalidArgument("the file has metadata, wanted none");
  }
  const std::vector<safetensors::TensorInfo>& tensors = file->tensors();
  if (tensors.size() != expert.tensors.size()) {
    return InvalidArgument("the file holds {} tensors, the manifest lists {}",
                           tensors.size(), expert.tensors.size());
  }
  crypto::Sha256 router;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const safetensors::TensorInfo& got = tensors[i];
    const manifest::ExpertManifest::Tensor& wanted = expert.tensors[i];
    if (got.name != wanted.name ||
        safetensors::DTypeName(got.dtype) != wanted.dtype ||
        !(got.shape == wanted.shape)) {
      return InvalidArgument(
          "tensor {} of the file is {} {} {}, the manifest lists {} {}", i,
          got.name, safetensors::DTypeName(got.dtype), got.shape.ToString(),
          wanted.name, wanted.dtype);
    }
    const bool is_router = got.name.find(".router.") != std::string::npos;
    crypto::Sha256 hash;
    RETURN_IF_ERROR(
        HashTensor(*file, got, hash, is_router ? &router : nullptr));
    if (hash.Hex() != wanted.sha256) {
      return InvalidArgument(
          "{}: the bytes have SHA-256 {}, the manifest "
          "lists {}",
          got.name, hash.Hex(), wanted.sha256);
    }
  }
  if (router.Hex() != expert.router_digest) {
    return InvalidArgument("router rows: SHA-256 {}, the manifest says {}",
                           router.Hex(), expert.router_digest);
  }
  return absl::OkStatus();
}

GateResult GateFrom(const std::string& gate, const Status& status,
                    const std::string& detail) {
  return {.gate = gate,
          .passed = status.ok(),
          .detail = status.ok() ? detail : std::string(status.message())};
}

}  // namespace tributary::coordinator
