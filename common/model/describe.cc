#include "common/model/describe.h"

#include <nlohmann/json.hpp>

#include "common/model/load_release.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/hf_directory.h"
#include "common/model_format/parameter_names.h"

namespace tributary::model {
namespace {

namespace fs = std::filesystem;
using model_format::ExpertLayout;
using model_format::ModelConfig;

struct NamedExpert {
  std::string name;
  ExpertLayout layout;
};

// The widths that an expert file has, without its values.
StatusOr<NamedExpert> DescribeExpert(const ModelConfig& anchor,
                                     const fs::path& path) {
  ASSIGN_OR_RETURN(const auto file, safetensors::File::Open(path));
  NamedExpert expert{.name = path.stem().string()};
  for (int64_t l = 0; l < anchor.num_layers; ++l) {
    const auto* gate =
        file->Find(model_format::ExpertMlp(l, model_format::MlpPart::kGate));
    const bool difference = file->Find(model_format::ExpertFactorA(
                                l, model_format::MlpPart::kGate)) != nullptr;
    expert.layout.widths.push_back(difference ? anchor.intermediate_size
                                   : gate != nullptr && gate->shape.size() == 2
                                       ? gate->shape[0]
                                       : 0);
  }
  return expert;
}

struct Parameters {
  int64_t total = 0;
  int64_t active = 0;
  int64_t anchor = 0;
};

int64_t FfnParameters(const ModelConfig& config, int64_t width) {
  return 3 * config.hidden_size * width;
}

Parameters CountWithExperts(const ModelConfig& anchor,
                            const std::vector<NamedExpert>& experts,
                            int64_t top_k) {
  Parameters count;
  count.anchor = model_format::CountModelParameters(anchor);
  count.total = count.anchor;
  for (const NamedExpert& expert : experts) {
    count.total +=
        model_format::CountExpertParameters(anchor, expert.layout).total();
  }
  const auto slots = static_cast<int64_t>(experts.size()) + 1;
  double active = static_cast<double>(count.anchor);
  for (int64_t l = 0; l < anchor.num_layers; ++l) {
    // An expert of width 0 runs the anchor's FFN, which runs once.
    int64_t own = 0;
    for (const NamedExpert& expert : experts) {
      own += expert.layout.widths[static_cast<size_t>(l)];
    }
    if (own == 0) {
      continue;
    }
    active += static_cast<double>(std::min(top_k, slots)) /
              static_cast<double>(slots) *
              static_cast<double>(FfnParameters(anchor, own));
    active += static_cast<double>(experts.size()) *
              static_cast<double>(anchor.hidden_size + 1);
  }
  count.active = static_cast<int64_t>(active);
  return count;
}

Parameters CountMixture(const ModelConfig& config) {
  Parameters count;
  count.total = model_format::CountModelParameters(config);
  const int64_t idle = config.num_experts - config.top_k;
  count.active =
      count.total - idle * config.num_layers *
                        FfnParameters(config, config.intermediate_size);
  return count;
}

}  // namespace

StatusOr<Json> DescribeModel(const Source& source) {
  ASSIGN_OR_RETURN(
      const auto directory,
      model_format::HfDirectory::Open(ModelFilesDirectory(source.directory)));
  const ModelConfig& config = directory->config();
  std::string kind = config.is_moe() ? "mixture" : "anchor";
  int64_t top_k = config.is_moe() ? config.top_k : 2;
  bool renormalise = model_format::MergedNormTopkProb(config);
  std::vector<NamedExpert> experts;
  if (IsRelease(source.directory)) {
    kind = "release";
    ASSIGN_OR_RETURN(const auto manifest,
                     ReadReleaseManifest(source.directory));
    top_k = manifest.routing.top_k;
    renormalise = manifest.routing.renormalise;
    for (const auto& expert : manifest.experts) {
      if (static_cast<int64_t>(expert.widths.size()) != config.num_layers) {
        return InvalidArgument("{}: expert {} has {} widths for {} layers",
                               source.directory.string(), expert.contribution,
                               expert.widths.size(), config.num_layers);
      }
      experts.push_back({expert.contribution, {expert.widths}});
    }
  }
  for (const fs::path& path : source.expert_paths) {
    ASSIGN_OR_RETURN(NamedExpert expert, DescribeExpert(config, path));
    experts.push_back(std::move(expert));
  }
  if (source.top_k > 0) {
    top_k = source.top_k;
  }
  const Parameters count = config.is_moe()
                               ? CountMixture(config)
                               : CountWithExperts(config, experts, top_k);
  Json list = Json::array();
  for (const NamedExpert& expert : experts) {
    list.push_back(
        {{"name", expert.name},
         {"widths", expert.layout.widths},
         {"parameters",
          model_format::CountExpertParameters(config, expert.layout).total()}});
  }
  const bool routes = config.is_moe() || !experts.empty();
  return Json{
      {"kind", kind},
      {"model_type", model_format::ModelTypeName(config.type)},
      {"num_layers", config.num_layers},
      {"hidden_size", config.hidden_size},
      {"intermediate_size", config.intermediate_size},
      {"vocab_size", config.vocab_size},
      {"num_heads", config.num_heads},
      {"num_kv_heads", config.num_kv_heads},
      {"tied_embeddings", config.tie_word_embeddings},
      {"context", config.max_position_embeddings},
      {"parameters",
       {{"total", count.total},
        {"active", count.active},
        {"anchor", count.anchor}}},
      {"routing", routes ? Json{{"top_k", top_k}, {"renormalise", renormalise}}
                         : Json(nullptr)},
      {"num_experts",
       config.is_moe()
           ? config.num_experts
           : static_cast<int64_t>(experts.empty() ? 0 : experts.size() + 1)},
      {"experts", std::move(list)}};
}

}  // namespace tributary::model
