#include "coordinator/evaluation/analyse.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/evaluation/text_windows.h"
#include "common/model/load_release.h"
#include "common/tokenizer/tokenizer.h"
#include "coordinator/evaluation/record_routing.h"
#include "coordinator/evaluation/routing_analysis.h"

namespace tributary::coordinator {
namespace {

using tokenizer::Tokenizer;

// Larger mixtures get the co-activation of all layers together only.
constexpr int64_t kMaxExpertsPerLayer = 64;
constexpr size_t kTopIds = 12;

// Row-major values as nested lists.
Json Nested(const std::vector<double>& values,
            const std::vector<int64_t>& shape, size_t dimension = 0,
            size_t offset = 0) {
  size_t stride = 1;
  for (size_t d = dimension + 1; d < shape.size(); ++d) {
    stride *= static_cast<size_t>(shape[d]);
  }
  Json list = Json::array();
  for (int64_t i = 0; i < shape[dimension]; ++i) {
    const size_t at = offset + static_cast<size_t>(i) * stride;
    list.push_back(dimension + 1 == shape.size()
                       ? Json(values[at])
                       : Nested(values, shape, dimension + 1, at));
  }
  return list;
}

StatusOr<std::vector<DomainWindows>> CutDomains(const AnalyseOptions& options,
                                                const Tokenizer& tokenizer) {
  std::vector<DomainWindows> domains;
  for (const DomainText& text : options.domains) {
    ASSIGN_OR_RETURN(const auto documents,
                     evaluation::ReadDocuments(text.paths));
    ASSIGN_OR_RETURN(evaluation::Windows windows,
                     evaluation::CutWindows(
                         tokenizer, documents,
                         {.window_tokens = options.window_tokens,
                          .max_windows = options.max_windows,
                          .rest = evaluation::WindowOptions::Rest::kKeep}));
    if (windows.empty()) {
      return InvalidArgument("{}: has no document of 2 tokens or more",
                             text.name);
    }
    // Windows of one length run together.
    std::stable_sort(
        windows.begin(), windows.end(),
        [](const auto& a, const auto& b) { return a.size() > b.size(); });
    domains.push_back({text.name, std::move(windows)});
  }
  return domains;
}

Json DomainsJson(const RoutingRecord& record,
                 const std::vector<DomainWindows>& domains) {
  Json list = Json::array();
  for (size_t d = 0; d < domains.size(); ++d) {
    const auto tokens = static_cast<double>(record.loss_tokens[d]);
    list.push_back({{"name", domains[d].name},
                    {"windows", domains[d].windows.size()},
                    {"predicted_tokens", record.loss_tokens[d]},
                    {"log_loss", record.loss[d] / tokens}});
  }
  return list;
}

Json VocabularyJson(const RoutingRecord& record, const Tokenizer& tokenizer,
                    int64_t min_count) {
  const std::pair<const char*, VocabularyKey> keys[] = {
      {"input", VocabularyKey::kInput},
      {"next", VocabularyKey::kNext},
      {"predicted", VocabularyKey::kPredicted}};
  Json result = {{"min_count", min_count}};
  for (const auto& [name, key] : keys) {
    const VocabularySpecialisation found =
        Vocabulary(record, key, min_count, kTopIds);
    Json top = Json::array();
    for (const auto& shares : found.top) {
      Json list = Json::array();
      for (const TokenShare& share : shares) {
        const std::vector<int32_t> id = {share.id};
        list.push_back({{"id", share.id},
                        {"text", tokenizer.Decode(id).value_or("?")},
                        {"share", share.share},
                        {"count", share.count}});
      }
      top.push_back(std::move(list));
    }
    result[name] = {
        {"ids", found.ids},
        {"first_choice", found.first_choice},
        {"mean_share",
         Nested(found.mean_share, {static_cast<int64_t>(record.layers.size()),
                                   record.num_experts()})},
        {"top", std::move(top)}};
  }
  return result;
}

// Means over a domain's tokens of what was summed [L][D, E].
Json MeanJson(const RoutingRecord& record,
              const std::vector<std::vector<double>>& sums) {
  std::vector<double> tokens(record.domains.size());
  for (const int32_t domain : record.domain) {
    tokens[static_cast<size_t>(domain)] += 1;
  }
  Json layers = Json::array();
  for (std::vector<double> layer : sums) {
    for (size_t i = 0; i < layer.size(); ++i) {
      layer[i] /= tokens[i / record.experts.size()];
    }
    layers.push_back(
        Nested(layer, {record.num_domains(), record.num_experts()}));
  }
  return layers;
}

// Overlap of the most important channels of the anchor's FFNs between domains
// [L, D, D].
Json ImportanceJson(const RoutingRecord& record, double fraction) {
  if (record.importance.empty()) {
    return nullptr;
  }
  Json layers = Json::array();
  for (size_t l = 0; l < record.importance[0].size(); ++l) {
    Json rows = Json::array();
    for (const auto& first : record.importance) {
      Json row = Json::array();
      for (const auto& second : record.importance) {
        row.push_back(ImportanceOverlap(first[l], second[l], fraction));
      }
      rows.push_back(std::move(row));
    }
    layers.push_back(std::move(rows));
  }
  return {{"fraction", fraction}, {"overlap", std::move(layers)}};
}

Json NodesJson(const RoutingRecord& record, const NodeLimit& limit) {
  if (record.nodes.empty()) {
    return nullptr;
  }
  Json result = {{"groups", limit.groups}, {"limit", limit.limit}};
  for (const NodeLoad& load : record.nodes) {
    result["groups_free"].push_back(load.groups_free);
    result["groups_limited"].push_back(load.groups_limited);
    result["choices_kept"].push_back(load.choices_kept);
    result["mass_kept"].push_back(load.mass_kept);
  }
  return result;
}

Json RecordJson(const RoutingRecord& record,
                const std::vector<DomainWindows>& domains,
                const Tokenizer& tokenizer, int64_t min_count) {
  const auto layers = static_cast<int64_t>(record.layers.size());
  const int64_t experts = record.num_experts();
  Json co_activation = {
      {"all_layers", Nested(MeanCoActivation(record), {experts, experts})}};
  if (experts <= kMaxExpertsPerLayer) {
    co_activation["layers"] =
        Nested(CoActivation(record), {layers, experts, experts});
  }
  return {{"tokens", record.tokens()},
          {"top_k", record.top_k},
          {"layers", record.layers},
          {"experts", record.experts},
          {"domains", DomainsJson(record, domains)},
          {"utilisation", Nested(Utilisation(record), {layers, experts})},
          {"domain_specialisation",
           Nested(DomainSpecialisation(record),
                  {layers, record.num_domains(), experts})},
          {"mean_probability", MeanJson(record, record.probability)},
          {"mean_weight", MeanJson(record, record.weight)},
          {"co_activation", std::move(co_activation)},
          {"vocabulary", VocabularyJson(record, tokenizer, min_count)}};
}

}  // namespace

StatusOr<Json> AnalyseRouting(const AnalyseOptions& options) {
  // Progress of one pass over the texts, of those that there will be.
  const int passes = options.reference ? 2 : 1;
  int pass = 0;
  const RecordOptions record_options = {
      .nodes = options.nodes,
      .on_progress =
          [&](double fraction, const std::string& done) {
            if (options.on_progress) {
              options.on_progress((pass + fraction) / passes, done);
            }
          },
      .cancellation = options.load.cancellation};
  ASSIGN_OR_RETURN(
      const auto tokenizer,
      Tokenizer::Load(model::ModelFilesDirectory(options.model.directory) /
                      "tokenizer.json"));
  ASSIGN_OR_RETURN(const std::vector<DomainWindows> domains,
                   CutDomains(options, *tokenizer));
  const auto record =
      [&](const model::Source& source) -> StatusOr<RoutingRecord> {
    ASSIGN_OR_RETURN(const model::CausalLm lm,
                     model::LoadSource(source, options.load));
    return RecordRouting(lm, domains, record_options);
  };
  ASSIGN_OR_RETURN(const RoutingRecord own, record(options.model));
  Json result = RecordJson(own, domains, *tokenizer, options.min_token_count);
  result["nodes"] = NodesJson(own, options.nodes);
  result["saturation"] = nullptr;
  if (options.reference) {
    ++pass;
    ASSIGN_OR_RETURN(const RoutingRecord other, record(*options.reference));
    ASSIGN_OR_RETURN(const Saturation found, RouterSaturation(own, other));
    result["saturation"] = {{"layers", found.layers}, {"share", found.share}};
  }
  result["importance"] = ImportanceJson(own, options.importance_fraction);
  return result;
}

}  // namespace tributary::coordinator
