// Importance files: layout and checks.

#include <charconv>
#include <cmath>
#include <sstream>

#include "common/model_format/parameter_names.h"
#include "common/safetensors/reader.h"
#include "common/safetensors/writer.h"
#include "contributor/calibration/importance.h"
#include "fmt/ranges.h"

namespace tributary::contributor {
namespace {

using safetensors::DType;

constexpr char kFormulasKey[] = "formulas";
constexpr char kWindowsKey[] = "windows";
constexpr char kTokensKey[] = "tokens";

std::string ScoresName(int64_t l, std::string_view formula) {
  std::string name = model_format::Importance(l);
  return formula.empty() ? name : fmt::format("{}.{}", name, formula);
}
std::string SumsName(int64_t l, std::string_view formula) {
  return fmt::format("layers.{}.sums.{}", l, formula);
}
std::string NormsName(int64_t l) {
  return fmt::format("layers.{}.down_norms", l);
}
std::string DigestKey(int64_t l) {
  return fmt::format("layers.{}.channels", l);
}

// The layer of "layers.{l}.importance", or nothing.
std::optional<int64_t> LayerOf(const std::string& name,
                               const std::string& formula) {
  int64_t l = 0;
  const char* begin = name.data() + std::string_view("layers.").size();
  if (name.rfind("layers.", 0) != 0 ||
      std::from_chars(begin, name.data() + name.size(), l).ec != std::errc() ||
      name != ScoresName(l, formula)) {
    return std::nullopt;
  }
  return l;
}

StatusOr<std::shared_ptr<const safetensors::File>> OpenImportance(
    const std::filesystem::path& path) {
  return safetensors::File::Open(
      path, {.limits = safetensors::HeaderLimits::ForModel()});
}

// A tensor's elements as they are stored.
template <typename T>
StatusOr<std::vector<T>> ReadElements(const safetensors::File& file,
                                      const std::string& name, DType dtype,
                                      const std::vector<int64_t>& shape) {
  const safetensors::TensorInfo* info = file.Find(name);
  if (info == nullptr || info->dtype != dtype || !(info->shape == shape)) {
    return InvalidArgument(
        "{}: tensor {}: got {}, wanted {} [{}]; calibrate again with --sums",
        file.path().string(), name,
        info == nullptr ? "none" : info->shape.ToString(),
        safetensors::DTypeName(dtype), fmt::join(shape, ", "));
  }
  std::vector<T> elements(info->elements());
  RETURN_IF_ERROR(
      file.Read(*info, 0, std::as_writable_bytes(std::span(elements))));
  return elements;
}

StatusOr<int64_t> MetadataNumber(const safetensors::File& file,
                                 const std::string& key) {
  const auto found = file.metadata().find(key);
  int64_t value = 0;
  if (found == file.metadata().end() ||
      std::from_chars(found->second.data(),
                      found->second.data() + found->second.size(), value)
              .ec != std::errc() ||
      value < 0) {
    return InvalidArgument("{}: says nothing of its {}", file.path().string(),
                           key);
  }
  return value;
}

}  // namespace

Status WriteImportance(const std::filesystem::path& path,
                       const ImportanceSums& sums,
                       const WriteImportanceOptions& options) {
  // Vectors do not move their elements when the list grows.
  std::vector<std::vector<float>> scores;
  std::vector<safetensors::TensorView> views;
  std::vector<std::string> names;
  std::map<std::string, std::string> metadata = options.metadata;
  metadata[kWindowsKey] = std::to_string(sums.windows);
  metadata[kTokensKey] = std::to_string(sums.tokens);
  for (const Formula formula : sums.formulas) {
    names.emplace_back(FormulaName(formula));
  }
  metadata[kFormulasKey] = fmt::format("{}", fmt::join(names, ","));
  const auto add_scores = [&](const std::string& name, int64_t l, size_t i) {
    const std::vector<double> exact = sums.Scores(l, i);
    scores.emplace_back(exact.begin(), exact.end());
    views.push_back(
        {{name, DType::kF32, {static_cast<int64_t>(scores.back().size())}},
         std::as_bytes(std::span(scores.back()))});
  };
  for (const auto& [l, layer] : sums.layers) {
    metadata[DigestKey(l)] = layer.channels_digest;
    add_scores(ScoresName(l, ""), l, 0);
    for (size_t i = 0; names.size() > 1 && i < names.size(); ++i) {
      add_scores(ScoresName(l, names[i]), l, i);
    }
    if (!options.with_sums) {
      continue;
    }
    const auto channels = static_cast<int64_t>(layer.down_norms.size());
    for (size_t i = 0; i < names.size(); ++i) {
      views.push_back(
          {{SumsName(l, names[i]), DType::kI64, {ExactSum::kLimbs, channels}},
           std::as_bytes(std::span(layer.sums[i].limbs()))});
    }
    views.push_back({{NormsName(l), DType::kF64, {channels}},
                     std::as_bytes(std::span(layer.down_norms))});
  }
  return safetensors::WriteFile(path, views, {.metadata = metadata});
}

StatusOr<ImportanceScores> ReadImportanceScores(
    const std::filesystem::path& path, const std::string& formula) {
  ASSIGN_OR_RETURN(const auto file, OpenImportance(path));
  // A file of one formula does not repeat its scores under the name.
  std::string name = formula;
  const auto formulas = file->metadata().find(kFormulasKey);
  if (formulas != file->metadata().end() && formulas->second == formula) {
    name.clear();
  }
  ImportanceScores scores;
  for (const auto& tensor : file->tensors()) {
    const std::optional<int64_t> l = LayerOf(tensor.name, name);
    if (!l) {
      continue;
    }
    ASSIGN_OR_RETURN(std::vector<float> values, file->ReadFloats(tensor.name));
    for (const float value : values) {
      if (!(value >= 0) || !std::isfinite(value)) {
        return InvalidArgument(
            "{}: {}: a score is {}, wanted finite scores of at least 0",
            path.string(), tensor.name, value);
      }
    }
    scores.layers[*l] = std::move(values);
    const auto digest = file->metadata().find(DigestKey(*l));
    if (digest != file->metadata().end()) {
      scores.channels_digests[*l] = digest->second;
    }
  }
  if (scores.layers.empty()) {
    return NotFound(
        "{}: has no importance scores{}; wanted a file that calibrate wrote",
        path.string(), formula.empty() ? "" : " by " + formula);
  }
  return scores;
}

StatusOr<ImportanceSums> ReadImportanceSums(
    const std::filesystem::path& path,
    std::map<std::string, std::string>* metadata) {
  ASSIGN_OR_RETURN(const auto file, OpenImportance(path));
  if (metadata != nullptr) {
    *metadata = file->metadata();
  }
  ImportanceSums sums;
  const auto formulas = file->metadata().find(kFormulasKey);
  if (formulas == file->metadata().end()) {
    return InvalidArgument(
        "{}: is no importance file with sums; calibrate with --sums",
        path.string());
  }
  std::istringstream list(formulas->second);
  for (std::string name; std::getline(list, name, ',');) {
    ASSIGN_OR_RETURN(sums.formulas.emplace_back(), ParseFormula(name));
  }
  ASSIGN_OR_RETURN(sums.windows, MetadataNumber(*file, kWindowsKey));
  ASSIGN_OR_RETURN(sums.tokens, MetadataNumber(*file, kTokensKey));
  ASSIGN_OR_RETURN(const ImportanceScores scores, ReadImportanceScores(path));
  for (const auto& [l, values] : scores.layers) {
    ImportanceSums::Layer& layer = sums.layers[l];
    const auto channels = static_cast<int64_t>(values.size());
    const auto digest = scores.channels_digests.find(l);
    if (digest == scores.channels_digests.end()) {
      return InvalidArgument(
          "{}: layer {}: does not say whose channels it is of", path.string(),
          l);
    }
    layer.channels_digest = digest->second;
    ASSIGN_OR_RETURN(
        layer.down_norms,
        ReadElements<double>(*file, NormsName(l), DType::kF64, {channels}));
    for (const Formula formula : sums.formulas) {
      ASSIGN_OR_RETURN(
          std::vector<int64_t> limbs,
          ReadElements<int64_t>(*file, SumsName(l, FormulaName(formula)),
                                DType::kI64, {ExactSum::kLimbs, channels}));
      ASSIGN_OR_RETURN(ExactSum sum, ExactSum::FromLimbs(std::move(limbs)));
      layer.sums.push_back(std::move(sum));
    }
  }
  return sums;
}

}  // namespace tributary::contributor
