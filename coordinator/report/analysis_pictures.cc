#include "coordinator/report/analysis_pictures.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace tributary::coordinator {
namespace {

using Strings = std::vector<std::string>;
using Doubles = std::vector<double>;

// What the pictures need of an analysis; throws as nlohmann's library does.
struct Analysis {
  explicit Analysis(const Json& json)
      : value(json),
        experts(json.at("experts").get<Strings>()),
        tokens(json.at("tokens").get<int64_t>()),
        top_k(json.at("top_k").get<int64_t>()) {
    for (const Json& layer : json.at("layers")) {
      layers.push_back(std::to_string(layer.get<int64_t>()));
    }
    for (const Json& domain : json.at("domains")) {
      domains.push_back(domain.at("name").get<std::string>());
    }
  }

  // Nested lists as row-major values; a wrong number of them throws.
  static Doubles Flat(const Json& nested, size_t wanted) {
    Doubles values;
    Collect(nested, values);
    if (values.size() != wanted) {
      throw std::invalid_argument("a list of another length");
    }
    return values;
  }

  const Json& value;
  Strings experts;
  Strings domains;
  Strings layers;
  int64_t tokens = 0;
  int64_t top_k = 0;

 private:
  static void Collect(const Json& nested, Doubles& values) {
    if (nested.is_array()) {
      for (const Json& item : nested) {
        Collect(item, values);
      }
    } else {
      values.push_back(nested.get<double>());
    }
  }
};

class Drawer {
 public:
  Drawer(const Analysis& analysis, PictureUse use)
      : analysis_(analysis), use_(use) {}

  std::vector<NamedPicture> Draw() {
    Domains();
    Layers();
    CoActivation();
    Vocabulary();
    Saturation();
    Nodes();
    Importance();
    return std::move(pictures_);
  }

 private:
  void Add(std::string name, const Heatmap& heatmap) {
    pictures_.push_back(
        {std::move(name), ToSvg(heatmap, use_), heatmap.description});
  }
  void Add(std::string name, const BarChart& chart) {
    pictures_.push_back(
        {std::move(name), ToSvg(chart, use_), chart.description});
  }

  // Averages over layers [D, E], then one picture per domain [L, E].
  void Domains() {
    const size_t layers = analysis_.layers.size();
    const size_t domains = analysis_.domains.size();
    const size_t experts = analysis_.experts.size();
    const Doubles all =
        Analysis::Flat(analysis_.value.at("domain_specialisation"),
                       layers * domains * experts);
    Doubles mean(domains * experts);
    for (size_t i = 0; i < all.size(); ++i) {
      mean[i % mean.size()] += all[i] / static_cast<double>(layers);
    }
    Add("domain-specialisation",
        Heatmap{.title = "Who computes which text",
                .description =
                    "Share of a domain's tokens that chose an expert, mean "
                    "over the layers that route. Each token chooses " +
                    std::to_string(analysis_.top_k) + " experts.",
                .rows = analysis_.domains,
                .columns = analysis_.experts,
                .row_label = "domain",
                .column_label = "expert",
                .values = std::move(mean)});
    for (size_t d = 0; d < domains; ++d) {
      Doubles values;
      for (size_t l = 0; l < layers; ++l) {
        const auto begin =
            all.begin() + static_cast<int64_t>((l * domains + d) * experts);
        values.insert(values.end(), begin,
                      begin + static_cast<int64_t>(experts));
      }
      Add("domain-" + std::to_string(d + 1),
          Heatmap{.title = "Layers on text of " + analysis_.domains[d],
                  .description = "Share of the tokens of " +
                                 analysis_.domains[d] +
                                 " that chose an expert, layer by layer.",
                  .rows = analysis_.layers,
                  .columns = analysis_.experts,
                  .row_label = "layer",
                  .column_label = "expert",
                  .values = std::move(values)});
    }
  }

  void Layers() {
    Add("utilisation",
        Heatmap{.title = "Utilisation",
                .description = "Share of all tokens that chose an expert in a "
                               "layer.",
                .rows = analysis_.layers,
                .columns = analysis_.experts,
                .row_label = "layer",
                .column_label = "expert",
                .values = Analysis::Flat(
                    analysis_.value.at("utilisation"),
                    analysis_.layers.size() * analysis_.experts.size())});
  }

  void CoActivation() {
    const size_t experts = analysis_.experts.size();
    Add("co-activation",
        Heatmap{.title = "Co-activation",
                .description =
                    "Of the tokens that chose the row's expert, the share "
                    "that chose the column's as well; all layers together.",
                .rows = analysis_.experts,
                .columns = analysis_.experts,
                .row_label = "expert",
                .column_label = "other expert",
                .values = Analysis::Flat(
                    analysis_.value.at("co_activation").at("all_layers"),
                    experts * experts)});
  }

  void Vocabulary() {
    const Json& vocabulary = analysis_.value.at("vocabulary");
    BarChart chart{
        .title = "Vocabulary specialisation",
        .description =
            "Mean over token ids of the largest share of an id's occurrences "
            "that have one expert as first choice, by the token that is read, "
            "the one that follows and the one that is predicted. Ids that "
            "occur at least " +
            std::to_string(vocabulary.at("min_count").get<int64_t>()) +
            " times.",
        .labels = {},
        .series = {"read", "follows", "predicted"},
        .values = {},
        .unit = ""};
    for (size_t l = 0; l < analysis_.layers.size(); ++l) {
      chart.labels.push_back("layer " + analysis_.layers[l]);
      for (const char* key : {"input", "next", "predicted"}) {
        chart.values.push_back(
            vocabulary.at(key).at("first_choice").at(l).get<double>());
      }
    }
    Add("vocabulary", chart);
  }

  void Saturation() {
    const Json& saturation = analysis_.value.at("saturation");
    if (saturation.is_null()) {
      return;
    }
    BarChart chart{.title = "Router saturation",
                   .description =
                       "Share of choices that this model and the other one "
                       "have in common on the same tokens, experts matched by "
                       "name.",
                   .labels = {},
                   .series = {"in common"},
                   .values = saturation.at("share").get<Doubles>(),
                   .unit = ""};
    for (const Json& layer : saturation.at("layers")) {
      chart.labels.push_back("layer " + std::to_string(layer.get<int64_t>()));
    }
    if (chart.values.size() != chart.labels.size()) {
      throw std::invalid_argument("saturation of another length");
    }
    Add("saturation", chart);
  }

  // Older analyses do not have it.
  void Nodes() {
    const auto nodes = analysis_.value.find("nodes");
    if (nodes == analysis_.value.end() || nodes->is_null()) {
      return;
    }
    const auto free = nodes->at("groups_free").get<Doubles>();
    const auto limited = nodes->at("groups_limited").get<Doubles>();
    if (free.size() != analysis_.layers.size() ||
        limited.size() != free.size()) {
      throw std::invalid_argument("nodes of another length");
    }
    BarChart chart{
        .title = "Nodes that a token would reach",
        .description = fmt::format(
            "Simulated: the experts on {} nodes, neighbours together; mean "
            "number of nodes of a token's choices as they are, and were it to "
            "choose from {} of them.",
            nodes->at("groups").get<int64_t>(),
            nodes->at("limit").get<int64_t>()),
        .labels = {},
        .series = {"as they are", "limited"},
        .values = {},
        .unit = ""};
    for (size_t l = 0; l < free.size(); ++l) {
      chart.labels.push_back("layer " + analysis_.layers[l]);
      chart.values.push_back(free[l]);
      chart.values.push_back(limited[l]);
    }
    Add("nodes", chart);
  }

  // Mean over layers [D, D].
  void Importance() {
    const Json& importance = analysis_.value.at("importance");
    if (importance.is_null()) {
      return;
    }
    const size_t domains = analysis_.domains.size();
    const size_t layers = importance.at("overlap").size();
    const Doubles all =
        Analysis::Flat(importance.at("overlap"), layers * domains * domains);
    Doubles mean(domains * domains);
    for (size_t i = 0; i < all.size(); ++i) {
      mean[i % mean.size()] += all[i] / static_cast<double>(layers);
    }
    Add("importance-overlap",
        Heatmap{.title = "Importance overlap",
                .description =
                    "Of the anchor's most important " +
                    std::to_string(static_cast<int>(std::lround(
                        100 * importance.at("fraction").get<double>()))) +
                    " % of channels on one domain, the share that is among "
                    "those of another; mean over all layers.",
                .rows = analysis_.domains,
                .columns = analysis_.domains,
                .row_label = "domain",
                .column_label = "domain",
                .values = std::move(mean)});
  }

  const Analysis& analysis_;
  const PictureUse use_;
  std::vector<NamedPicture> pictures_;
};

std::string DomainTable(const Analysis& analysis) {
  std::vector<Strings> rows;
  for (const Json& domain : analysis.value.at("domains")) {
    const double loss = domain.at("log_loss").get<double>();
    rows.push_back(
        {EscapeMarkup(domain.at("name").get<std::string>()),
         std::to_string(domain.at("windows").get<int64_t>()),
         std::to_string(domain.at("predicted_tokens").get<int64_t>()),
         fmt::format("{:.4f}", loss), fmt::format("{:.2f}", std::exp(loss))});
  }
  return Table("Texts",
               {"domain", "windows", "tokens", "log-loss", "perplexity"}, rows,
               1);
}

// The tokens that an expert is first choice for most often.
std::string TokenTable(const Analysis& analysis) {
  constexpr size_t kMaxExperts = 64;
  std::vector<Strings> rows;
  const Json& top = analysis.value.at("vocabulary").at("input").at("top");
  for (size_t e = 0; e < std::min(analysis.experts.size(), kMaxExperts); ++e) {
    std::string tokens;
    for (const Json& token : top.at(e)) {
      tokens += fmt::format("<code>{}</code> {:.0f} %, ",
                            EscapeMarkup(token.at("text").get<std::string>()),
                            100 * token.at("share").get<double>());
    }
    tokens.resize(tokens.size() - std::min<size_t>(2, tokens.size()));
    rows.push_back({EscapeMarkup(analysis.experts[e]), tokens});
  }
  return Table(
      "Tokens whose occurrences have the expert as first choice most "
      "often, all layers together",
      {"expert", "tokens"}, rows, 2);
}

// Third-party exceptions of missing or mistyped fields end here.
template <typename Function>
auto CatchJson(const Function& function) -> StatusOr<decltype(function())> {
  try {
    return function();
  } catch (const std::exception& error) {
    return InvalidArgument("not a routing analysis: {}", error.what());
  }
}

}  // namespace

StatusOr<std::vector<NamedPicture>> AnalysisPictures(const Json& analysis,
                                                     PictureUse use) {
  return CatchJson([&] {
    const Analysis parsed(analysis);
    return Drawer(parsed, use).Draw();
  });
}

StatusOr<std::vector<PageSection>> AnalysisSections(const Json& analysis) {
  return CatchJson([&] {
    const Analysis parsed(analysis);
    std::string figures;
    for (const NamedPicture& picture :
         Drawer(parsed, PictureUse::kInPage).Draw()) {
      figures += Figure(picture.svg, picture.caption);
    }
    return std::vector<PageSection>{
        {"texts", "Texts of the routing analysis", DomainTable(parsed)},
        {"routing", "Routing", figures},
        {"tokens", "Tokens by expert", TokenTable(parsed)}};
  });
}

StatusOr<std::string> AnalysisPage(const Json& analysis,
                                   const std::string& name) {
  ASSIGN_OR_RETURN(std::vector<PageSection> sections,
                   AnalysisSections(analysis));
  return CatchJson([&] {
    const Analysis parsed(analysis);
    return ToHtml(
        {.title = "Routing of " + name,
         .lead =
             Tiles({{std::to_string(parsed.experts.size()), "experts"},
                    {std::to_string(parsed.top_k), "experts per token"},
                    {std::to_string(parsed.layers.size()), "layers that route"},
                    {std::to_string(parsed.tokens), "tokens"}}),
         .sections = std::move(sections)});
  });
}

}  // namespace tributary::coordinator
