#include "common/model_format/hf_directory.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/base/files.h"
#include "common/model_format/parameter_names.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

namespace tributary::model_format {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;
using safetensors::File;
using safetensors::Shape;
using safetensors::TensorInfo;

constexpr char kWeights[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kTokenizer[] = "tokenizer.json";
constexpr size_t kNamesInMessage = 5;

// "a", "b" and 3 more
std::string Several(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kNamesInMessage);
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(),
                      names.begin() + static_cast<ptrdiff_t>(shown), ", "));
  if (shown < names.size()) {
    text += fmt::format(" and {} more", names.size() - shown);
  }
  return text;
}

// A buffer that old checkpoints carry; it follows from the config.
bool IsDerivedBuffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq");
}

// The shards that an index names. File names come from a foreign file: they
// must stay in the directory.
StatusOr<std::set<std::string>> ShardNames(const fs::path& index) {
  constexpr uint64_t kMaxBytes = 100'000'000;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index, kMaxBytes));
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto map =
      document.is_object() ? document.find("weight_map") : document.end();
  if (!document.is_object() || map == document.end() || !map->is_object() ||
      map->empty()) {
    return InvalidArgument("{}: has no object \"weight_map\"", index.string());
  }
  std::set<std::string> shards;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string()) {
      return InvalidArgument("{}: {} names no file", index.string(), name);
    }
    const std::string file = shard.get<std::string>();
    if (file.empty() || file[0] == '.' || file.find('/') != std::string::npos ||
        file.find('\0') != std::string::npos) {
      return InvalidArgument(
          "{}: {} names the file \"{}\", wanted one in the same folder",
          index.string(), name, file);
    }
    shards.insert(file);
  }
  return shards;
}

}  // namespace

StatusOr<std::unique_ptr<HfDirectory>> HfDirectory::Open(
    const fs::path& directory) {
  ASSIGN_OR_RETURN(ModelConfig config, LoadModelConfig(directory));
  std::unique_ptr<HfDirectory> result(
      new HfDirectory(directory, std::move(config)));
  RETURN_IF_ERROR(result->OpenWeights());
  RETURN_IF_ERROR(result->SplitFusedExperts());
  result->NameDenseExpert();
  RETURN_IF_ERROR(result->CheckParameters());
  const fs::path tokenizer = directory / kTokenizer;
  std::error_code error;
  if (fs::exists(tokenizer, error)) {
    result->tokenizer_path_ = tokenizer;
  }
  return result;
}

Status HfDirectory::OpenWeights() {
  std::error_code error;
  std::set<std::string> names = {kWeights};
  if (!fs::exists(path_ / kWeights, error)) {
    if (!fs::exists(path_ / kIndex, error)) {
      return NotFound("{}: has neither {} nor {}", path_.string(), kWeights,
                      kIndex);
    }
    sharded_ = true;
    ASSIGN_OR_RETURN(names, ShardNames(path_ / kIndex));
  }
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(
        auto file,
        File::Open(path_ / name,
                   {.limits = safetensors::HeaderLimits::ForModel()}));
    for (const TensorInfo& info : file->tensors()) {
      if (!tensors_.emplace(info.name, TensorReference{file.get(), &info})
               .second) {
        return InvalidArgument("{}: {} is in two files", path_.string(),
                               info.name);
      }
    }
    files_.push_back(std::move(file));
  }
  return absl::OkStatus();
}

Status HfDirectory::SplitFusedExperts() {
  const bool dense_olmoe =
      config_.type == ModelType::kOlmoe && !config_.is_moe();
  if (!config_.is_moe() && !dense_olmoe) {
    return absl::OkStatus();
  }
  const int64_t experts = std::max<int64_t>(1, config_.num_experts);
  const int64_t h = config_.hidden_size;
  const int64_t w = config_.intermediate_size;
  for (int64_t l = 0; l < config_.num_layers; ++l) {
    if (!tensors_.contains(FusedGateUp(l))) {
      continue;
    }
    std::vector<ParameterSpec> gate_up;
    std::vector<ParameterSpec> down;
    for (int64_t e = 0; e < experts; ++e) {
      const auto name = [&](MlpPart part) {
        return MixtureExpert(config_.type, l, e, part);
      };
      gate_up.push_back({name(MlpPart::kGate), {w, h}});
      gate_up.push_back({name(MlpPart::kUp), {w, h}});
      down.push_back({name(MlpPart::kDown), {h, w}});
    }
    RETURN_IF_ERROR(SplitFused(FusedGateUp(l), {experts, 2 * w, h}, gate_up));
    if (tensors_.contains(FusedDown(l))) {
      RETURN_IF_ERROR(SplitFused(FusedDown(l), {experts, h, w}, down));
    }
    const std::string router = MixtureRouter(config_.type, l);
    if (!tensors_.contains(router)) {
      if (auto found = tensors_.extract(FusedRouter(l)); !found.empty()) {
        found.key() = router;
        tensors_.insert(std::move(found));
      }
    }
  }
  return absl::OkStatus();
}

// The only expert of an olmoe is its FFN; what its router says is no matter.
void HfDirectory::NameDenseExpert() {
  if (config_.type != ModelType::kOlmoe || config_.is_moe()) {
    return;
  }
  for (int64_t l = 0; l < config_.num_layers; ++l) {
    for (const MlpPart part : {MlpPart::kGate, MlpPart::kUp, MlpPart::kDown}) {
      if (auto found =
              tensors_.extract(MixtureExpert(config_.type, l, 0, part));
          !found.empty()) {
        found.key() = DenseMlp(l, part);
        tensors_.insert(std::move(found));
      }
    }
    tensors_.erase(MixtureRouter(config_.type, l));
  }
}

// Puts `parts`, which make up the tensor `fused` one after the other, in its
// place.
Status HfDirectory::SplitFused(const std::string& fused, const Shape& wanted,
                               const std::vector<ParameterSpec>& parts) {
  const TensorReference whole = tensors_.at(fused);
  if (whole.info->shape != wanted) {
    return InvalidArgument("{}: {} has shape {}, but config.json implies {}",
                           path_.string(), fused, whole.info->shape.ToString(),
                           wanted.ToString());
  }
  const uint64_t bytes = whole.info->bytes() / parts.size();
  uint64_t begin = whole.info->begin;
  for (const ParameterSpec& part : parts) {
    parts_.push_back({.name = part.name,
                      .dtype = whole.info->dtype,
                      .shape = part.shape,
                      .begin = begin,
                      .end = begin + bytes});
    begin += bytes;
    if (!tensors_
             .emplace(part.name, TensorReference{whole.file, &parts_.back()})
             .second) {
      return InvalidArgument("{}: {} is there twice, alone and in {}",
                             path_.string(), part.name, fused);
    }
  }
  tensors_.erase(fused);
  return absl::OkStatus();
}

Status HfDirectory::CheckParameters() const {
  std::set<std::string> unexpected;
  for (const auto& [name, reference] : tensors_) {
    if (!IsDerivedBuffer(name)) {
      unexpected.insert(name);
    }
  }
  std::vector<std::string> missing;
  for (const ParameterSpec& wanted : ModelParameters(config_)) {
    const auto found = tensors_.find(wanted.name);
    if (found == tensors_.end()) {
      missing.push_back(wanted.name);
      continue;
    }
    unexpected.erase(wanted.name);
    const TensorInfo& got = *found->second.info;
    if (got.shape != wanted.shape) {
      return InvalidArgument("{}: {} has shape {}, but config.json implies {}",
                             path_.string(), wanted.name, got.shape.ToString(),
                             wanted.shape.ToString());
    }
    if (!safetensors::IsFloatingPoint(got.dtype)) {
      return InvalidArgument("{}: {} has dtype {}, wanted a floating type",
                             path_.string(), wanted.name,
                             safetensors::DTypeName(got.dtype));
    }
  }
  // A tied model may repeat its embeddings as lm_head, but with equal bytes:
  // readers disagree about which of two different ones counts.
  if (config_.tie_word_embeddings && unexpected.erase(std::string(kLmHead))) {
    ASSIGN_OR_RETURN(const TensorReference head, Find(kLmHead));
    ASSIGN_OR_RETURN(const TensorReference embedding, Find(kEmbedTokens));
    if (!std::ranges::equal(head.bytes(), embedding.bytes())) {
      return InvalidArgument(
          "{}: config.json ties the embeddings, but {} differs from {}; remove "
          "it or set tie_word_embeddings to false",
          path_.string(), kLmHead, kEmbedTokens);
    }
  }
  if (!missing.empty() || !unexpected.empty()) {
    std::string message =
        fmt::format("{}: not the parameters of a {} model of this config.json.",
                    path_.string(), ModelTypeName(config_.type));
    if (!missing.empty()) {
      message += fmt::format(" Missing: {}.", Several(missing));
    }
    if (!unexpected.empty()) {
      message += fmt::format(" Not expected: {}.",
                             Several({unexpected.begin(), unexpected.end()}));
    }
    return absl::InvalidArgumentError(message);
  }
  return absl::OkStatus();
}

std::vector<fs::path> HfDirectory::ModelFiles() const {
  std::vector<fs::path> names = {"config.json"};
  if (sharded_) {
    names.emplace_back(kIndex);
  }
  for (const auto& file : files_) {
    names.push_back(file->path().filename());
  }
  if (!tokenizer_path_.empty()) {
    names.emplace_back(kTokenizer);
  }
  std::sort(names.begin(), names.end());
  return names;
}

StatusOr<TensorReference> HfDirectory::Find(std::string_view name) const {
  const auto found = tensors_.find(std::string(name));
  if (found == tensors_.end()) {
    return NotFound("{}: has no parameter \"{}\"", path_.string(), name);
  }
  return found->second;
}

std::vector<ParameterSpec> ModelParameters(const ModelConfig& config) {
  const int64_t h = config.hidden_size;
  const int64_t q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim;
  const int64_t w = config.intermediate_size;
  std::vector<ParameterSpec> all;
  const auto add = [&](std::string name, const Shape& shape) {
    all.push_back({std::move(name), shape});
  };
  add(std::string(kEmbedTokens), {config.vocab_size, h});
  for (int64_t l = 0; l < config.num_layers; ++l) {
    if (config.block == BlockForm::kPreNorm) {
      add(InputNorm(l), {h});
    }
    add(QProj(l), {q, h});
    add(KProj(l), {kv, h});
    add(VProj(l), {kv, h});
    if (config.qk_norm == QkNorm::kWholeProjection) {
      add(QNorm(l), {q});
      add(KNorm(l), {kv});
    }
    add(OProj(l), {h, q});
    add(PostAttentionNorm(l), {h});
    if (config.is_moe()) {
      add(MixtureRouter(config.type, l), {config.num_experts, h});
      for (int64_t e = 0; e < config.num_experts; ++e) {
        add(MixtureExpert(config.type, l, e, MlpPart::kGate), {w, h});
        add(MixtureExpert(config.type, l, e, MlpPart::kUp), {w, h});
        add(MixtureExpert(config.type, l, e, MlpPart::kDown), {h, w});
      }
    } else {
      add(DenseMlp(l, MlpPart::kGate), {w, h});
      add(DenseMlp(l, MlpPart::kUp), {w, h});
      add(DenseMlp(l, MlpPart::kDown), {h, w});
    }
    if (config.block == BlockForm::kPostNorm) {
      add(PostFeedforwardNorm(l), {h});
    }
  }
  add(std::string(kFinalNorm), {h});
  if (!config.tie_word_embeddings) {
    add(std::string(kLmHead), {config.vocab_size, h});
  }
  return all;
}

}  // namespace tributary::model_format
