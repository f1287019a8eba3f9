#include "contributor/export/export_expert.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "common/model_format/expert_layout.h"
#include "common/model_format/model_config.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/float_convert.h"
#include "common/safetensors/reader.h"
#include "common/safetensors/writer.h"
#include "contributor/export/low_rank_factors.h"
#include "contributor/pruning/expert_weights.h"

namespace tributary::contributor {
namespace {

using safetensors::TensorSpec;

// The bytes of one exported tensor: values of `source` in the dtype of `spec`.
StatusOr<std::vector<std::byte>> Convert(const safetensors::File& source,
                                         const TensorSpec& spec) {
  ASSIGN_OR_RETURN(const std::vector<float> values,
                   source.ReadFloats(spec.name));
  ASSIGN_OR_RETURN(const uint64_t size, safetensors::TensorBytes(spec));
  std::vector<std::byte> bytes(size);
  if (const Status status = safetensors::FromFloat32(values, spec.dtype, bytes);
      !status.ok()) {
    return Annotate(status, source.path().string() + ": " + spec.name);
  }
  std::vector<float> stored(values.size());
  RETURN_IF_ERROR(safetensors::ToFloat32(spec.dtype, bytes, stored));
  for (const float value : stored) {
    if (!std::isfinite(value)) {
      return InvalidArgument(
          "{}: tensor {} holds {} as {}; train again with a lower learning "
          "rate",
          source.path().string(), spec.name, value,
          safetensors::DTypeName(spec.dtype));
    }
  }
  return bytes;
}

Status CheckWritten(const std::filesystem::path& path,
                    const std::vector<TensorSpec>& specs,
                    const std::vector<std::vector<std::byte>>& data) {
  ASSIGN_OR_RETURN(const auto file, safetensors::File::Open(path));
  bool equal = file->tensors().size() == specs.size();
  for (size_t i = 0; equal && i < specs.size(); ++i) {
    const auto& tensor = file->tensors()[i];
    equal = tensor.name == specs[i].name && tensor.dtype == specs[i].dtype &&
            tensor.shape == specs[i].shape &&
            std::ranges::equal(file->Bytes(tensor), data[i]);
  }
  return equal ? absl::OkStatus()
               : DataLoss("{}: reads back other than written; check the disk",
                          path.string());
}

// Layers of the anchor's width get `rank`.
Status SetRanks(const model_format::ModelConfig& anchor, int64_t rank,
                model_format::ExpertLayout& layout) {
  bool any = false;
  for (const int64_t width : layout.widths) {
    const bool full = width == anchor.intermediate_size;
    layout.ranks.push_back(full ? rank : 0);
    any = any || full;
  }
  if (!any) {
    return InvalidArgument(
        "rank {}: no layer of the expert has the anchor's width {}, and only "
        "those can be differences to it; export without a rank",
        rank, anchor.intermediate_size);
  }
  return model_format::CheckLayout(anchor, layout);
}

}  // namespace

StatusOr<ExportedExpert> ExportExpert(
    const ExportOptions& options, const std::filesystem::path& output_path) {
  ASSIGN_OR_RETURN(const auto anchor,
                   model_format::LoadModelConfig(options.model_directory));
  ASSIGN_OR_RETURN(const ExpertFile expert,
                   ExpertFile::Open(anchor, options.expert_path));
  std::shared_ptr<const safetensors::File> router;
  if (!options.router_path.empty()) {
    ASSIGN_OR_RETURN(router, safetensors::File::Open(options.router_path));
  } else if (!expert.has_rows()) {
    return InvalidArgument(
        "{}: has no router rows; name the file that does (router)",
        options.expert_path.string());
  }
  model_format::ExpertLayout layout = expert.layout();
  std::map<std::string, std::vector<std::byte>> factors;
  if (options.rank > 0) {
    RETURN_IF_ERROR(SetRanks(anchor, options.rank, layout));
    ASSIGN_OR_RETURN(
        factors, LowRankFactors(options.model_directory, options.expert_path,
                                options.router_path, options.rank));
  }
  ASSIGN_OR_RETURN(const std::vector<TensorSpec> specs,
                   model_format::ExpertTensors(anchor, layout));
  std::vector<std::vector<std::byte>> data;
  std::vector<safetensors::TensorView> views;
  int64_t parameters = 0;
  std::set<std::string> zero_rows;
  for (int64_t l = 0; l < layout.first_layer(); ++l) {
    zero_rows.insert(model_format::RouterWeight(l));
    zero_rows.insert(model_format::RouterBias(l));
  }
  for (const TensorSpec& spec : specs) {
    parameters += spec.shape.Elements().value_or(0);
    if (const auto factor = factors.find(spec.name); factor != factors.end()) {
      data.push_back(std::move(factor->second));
      continue;
    }
    const bool row = spec.dtype == safetensors::DType::kF32;
    ASSIGN_OR_RETURN(std::vector<std::byte> bytes,
                     Convert(row && router ? *router : expert.file(), spec));
    if (zero_rows.contains(spec.name)) {
      std::ranges::fill(bytes, std::byte{0});
    }
    data.push_back(std::move(bytes));
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    views.push_back({specs[i], data[i]});
  }
  RETURN_IF_ERROR(safetensors::WriteFile(output_path, views));
  RETURN_IF_ERROR(CheckWritten(output_path, specs, data));
  std::error_code error;
  return ExportedExpert{
      .widths = layout.widths,
      .parameters = parameters,
      .size_bytes = std::filesystem::file_size(output_path, error)};
}

}  // namespace tributary::contributor
