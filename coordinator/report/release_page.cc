#include "coordinator/report/release_page.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "common/base/text.h"
#include "coordinator/report/analysis_pictures.h"
#include "coordinator/report/comparison.h"
#include "coordinator/report/page.h"
#include "coordinator/report/picture.h"

namespace tributary::coordinator {
namespace {

// Merged models this much worse than an owner's own are pointed out, nats per
// token.
constexpr double kNotableLoss = 0.05;

std::string Code(const std::string& text) {
  return "<code>" + EscapeMarkup(text) + "</code>";
}

std::string Lead(const ReleaseFacts& facts) {
  std::string lead;
  if (!facts.state.empty() && facts.state != "PUBLISHED") {
    lead += fmt::format(
        "<p class=\"notice\">This release is {}.</p>\n",
        facts.state == "WITHDRAWN"
            ? "withdrawn: an expert in it was taken out by its owner. Do not "
              "use it any longer"
            : "no longer the newest");
  }
  lead += Paragraph(fmt::format(
      "A mixture of experts over the model {}. Each expert was made by a data "
      "owner from text that never left the owner's site.",
      facts.release.anchor.name));
  std::vector<Tile> tiles = {
      {std::to_string(facts.experts.size()), "experts beside the public one"},
      {Millions(facts.total_parameters), "parameters in all"},
      {Millions(facts.active_parameters), "active per token (average)"},
      {Millions(facts.anchor_parameters), "of the anchor"},
      {"top-" + std::to_string(facts.release.routing.top_k),
       facts.release.routing.mode + " routing"}};
  if (facts.statement) {
    tiles.push_back(
        {FormatTime(static_cast<double>(facts.statement->create_time_s))
             .substr(0, 10),
         "made"});
  }
  return lead + Tiles(tiles);
}

std::string Experts(const ReleaseFacts& facts) {
  std::vector<std::vector<std::string>> rows;
  Heatmap widths{.title = "Expert widths",
                 .description =
                     "Channels of each expert in each layer; 0 stands for the "
                     "anchor's own network. The anchor has " +
                     std::to_string(facts.anchor.intermediate_size) + ".",
                 .rows = {},
                 .columns = {},
                 .row_label = "expert",
                 .column_label = "layer",
                 .values = {},
                 .max = static_cast<double>(
                     std::max<int64_t>(1, facts.anchor.intermediate_size)),
                 .digits = 0};
  for (int64_t l = 0; l < facts.anchor.num_layers; ++l) {
    widths.columns.push_back(std::to_string(l));
  }
  for (const ExpertFacts& expert : facts.experts) {
    const auto* method = expert.manifest ? &expert.manifest->method : nullptr;
    rows.push_back(
        {EscapeMarkup(expert.entry.contribution),
         EscapeMarkup(expert.entry.contributor),
         EscapeMarkup(DescribeWidths(expert.entry.widths)),
         Grouped(expert.parameters), HumanBytes(expert.entry.blob.size),
         method == nullptr ? "" : Grouped(method->documents),
         method == nullptr ? "" : Grouped(method->tokens),
         method == nullptr ? "" : EscapeMarkup(method->recipe),
         method == nullptr
             ? ""
             : EscapeMarkup(expert.manifest->privacy.differential_privacy)});
    widths.rows.push_back(expert.entry.contribution);
    for (const int64_t width : expert.entry.widths) {
      widths.values.push_back(static_cast<double>(width));
    }
  }
  if (rows.empty()) {
    return Paragraph("None: this release is the anchor alone.");
  }
  return Table("Who contributed what",
               {"contribution", "owner", "widths", "parameters", "file",
                "documents", "tokens", "recipe", "differential privacy"},
               rows, 3) +
         Figure(ToSvg(widths, PictureUse::kInPage), widths.description);
}

// Losses of one evaluator on one text by model.
using LossTable = std::map<std::pair<std::string, std::string>,
                           std::map<std::string, double>>;

LossTable TabulateLosses(const ReleaseFacts& facts) {
  LossTable table;
  for (const LossFact& loss : facts.losses) {
    // What was measured on the release wins over what a manifest says.
    auto& models = table[{loss.evaluator, loss.text}];
    if (loss.tokens > 0 || !models.contains(loss.model)) {
      models[loss.model] = loss.log_loss;
    }
  }
  return table;
}

// Log-loss, perplexity and the signed change against a base.
std::string LossCell(const std::map<std::string, double>& models,
                     const std::string& model, const char* base) {
  const auto found = models.find(model);
  if (found == models.end()) {
    return "<span class=\"soft\">–</span>";
  }
  std::string cell = fmt::format("{:.4f} <span class=\"soft\">({:.2f})</span>",
                                 found->second, std::exp(found->second));
  const auto other = models.find(base);
  if (other != models.end() && model != base) {
    const double change = found->second - other->second;
    const char* judged = change < -0.0005  ? "good"
                         : change > 0.0005 ? "bad"
                                           : "soft";
    cell +=
        fmt::format("<br><span class=\"{}\">{:+.4f}</span>", judged, change);
  }
  return cell;
}

// Whether whoever measured has an expert in the release.
bool TakesPart(const ReleaseFacts& facts, const std::string& evaluator) {
  return std::any_of(facts.experts.begin(), facts.experts.end(),
                     [&](const ExpertFacts& expert) {
                       return "contributors/" + expert.entry.contributor ==
                              evaluator;
                     });
}

std::string Losses(const ReleaseFacts& facts) {
  const LossTable table = TabulateLosses(facts);
  if (table.empty()) {
    return Paragraph("Nobody has measured this release yet.");
  }
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> notes;
  BarChart chart{.title = "What every owner gains",
                 .description =
                     "Log-loss below the anchor's on the owner's held-out "
                     "text, nats per token: of the owner's own model and of "
                     "the release. Longer is better.",
                 .labels = {},
                 .series = {"own model", "release"},
                 .values = {},
                 .unit = "",
                 .digits = 3};
  for (const auto& [key, models] : table) {
    const auto& [evaluator, text] = key;
    rows.push_back({EscapeMarkup(text), EscapeMarkup(evaluator),
                    LossCell(models, "anchor", "anchor"),
                    LossCell(models, "own", "anchor"),
                    LossCell(models, "release", "anchor"),
                    LossCell(models, "previous", "release")});
    const bool complete = models.contains("anchor") && models.contains("own") &&
                          models.contains("release");
    if (!complete) {
      continue;
    }
    const bool takes_part = TakesPart(facts, evaluator);
    if (text != "public") {
      chart.labels.push_back(takes_part ? text : text + " (not in it)");
      chart.values.push_back(models.at("anchor") - models.at("own"));
      chart.values.push_back(models.at("anchor") - models.at("release"));
    }
    const double lost = models.at("release") - models.at("own");
    if (lost > kNotableLoss && takes_part) {
      notes.push_back(fmt::format(
          "On {} text the release is {:.3f} nats per token behind the owner's "
          "own model.",
          text, lost));
    }
  }
  std::string out = Paragraph(
      "Log-loss in nats per token and, in brackets, perplexity on held-out "
      "text, with the change against the anchor (for the previous release, "
      "against this one). Owners measure on text of their own and report "
      "numbers only.");
  out += Table("Log-loss by text and model",
               {"text", "measured by", "anchor", "owner's own model",
                "this release", "previous release"},
               rows, 2);
  if (!chart.labels.empty()) {
    out += Figure(ToSvg(chart, PictureUse::kInPage), chart.description);
  }
  return out + (notes.empty() ? "" : BulletList(notes));
}

std::string Withdrawals(const ReleaseFacts& facts) {
  if (facts.withdrawals.empty()) {
    return Paragraph("No withdrawal concerns this release.");
  }
  std::vector<std::vector<std::string>> rows;
  for (const WithdrawalFact& withdrawal : facts.withdrawals) {
    std::string releases;
    for (const std::string& name : withdrawal.releases) {
      releases += (releases.empty() ? "" : ", ") + EscapeMarkup(name);
    }
    rows.push_back({EscapeMarkup(withdrawal.contribution),
                    EscapeMarkup(withdrawal.contributor),
                    FormatTime(static_cast<double>(withdrawal.time_s)),
                    EscapeMarkup(withdrawal.state), releases,
                    EscapeMarkup(withdrawal.new_release.empty()
                                     ? "none"
                                     : withdrawal.new_release)});
  }
  return Table("Withdrawals that concern this release",
               {"contribution", "owner", "when", "state", "took out of service",
                "release made without it"},
               rows, 6);
}

std::string Provenance(const ReleaseFacts& facts) {
  std::vector<std::vector<std::string>> rows = {
      {"release manifest", "SHA-256 " + Code(facts.digest)},
      {"anchor", EscapeMarkup(facts.release.anchor.name) + ", SHA-256 " +
                     Code(facts.release.anchor.digest)},
      {"licence of the anchor", facts.anchor_licence.empty()
                                    ? "its files do not say"
                                    : EscapeMarkup(facts.anchor_licence)},
      {"router rows", Code(facts.release.router_blob.ToString())}};
  if (facts.statement) {
    rows.push_back({"signed by", Code(facts.signer_key_id)});
    rows.push_back({"made", FormatTime(static_cast<double>(
                                facts.statement->create_time_s))});
    rows.push_back(
        {"previous release", facts.previous_release.empty()
                                 ? "none"
                                 : EscapeMarkup(facts.previous_release)});
  }
  std::string out = Table("The release", {"what", "value"}, rows, 2);
  rows.clear();
  for (const ExpertFacts& expert : facts.experts) {
    rows.push_back(
        {EscapeMarkup(expert.entry.contribution),
         Code(expert.entry.blob.sha256), Code(expert.entry.manifest_digest),
         expert.key_id.empty()
             ? "<span class=\"soft\">not in this folder</span>"
             : Code(expert.key_id),
         expert.manifest
             ? EscapeMarkup(expert.manifest->approval.approver + " (" +
                            expert.manifest->approval.mode + ")")
             : ""});
  }
  if (!rows.empty()) {
    out += Table("The experts",
                 {"contribution", "file (SHA-256)", "manifest (SHA-256)",
                  "signed by the owner's key", "approved by"},
                 rows, 5);
  }
  if (!facts.verified.empty()) {
    out += Paragraph("Checked when this page was made:") +
           BulletList(facts.verified);
  }
  if (!facts.unverified.empty()) {
    out += Paragraph("Not checked:") + BulletList(facts.unverified);
  }
  return out + Paragraph(
                   "The manifest is a function of the anchor, the accepted "
                   "experts and the routing settings alone. Anybody who has "
                   "the files can make it again with `release merge` and "
                   "compare the digest.");
}

}  // namespace

StatusOr<std::string> ReleasePage(const ReleaseFacts& facts,
                                  const Json* analysis,
                                  const Json* comparison) {
  Page page{.title = "Release report: " + facts.name(),
            .lead = Lead(facts),
            .sections = {{"experts", "Experts", Experts(facts)},
                         {"losses", "Measured", Losses(facts)}}};
  if (comparison != nullptr) {
    ASSIGN_OR_RETURN(const Comparison compared,
                     Comparison::FromJson(*comparison));
    page.sections.push_back(ComparisonSection(compared));
  }
  if (analysis != nullptr) {
    ASSIGN_OR_RETURN(std::vector<PageSection> sections,
                     AnalysisSections(*analysis));
    std::move(sections.begin(), sections.end(),
              std::back_inserter(page.sections));
  }
  page.sections.push_back(
      {"provenance", "Provenance and signatures", Provenance(facts)});
  page.sections.push_back({"withdrawals", "Withdrawals", Withdrawals(facts)});
  return ToHtml(page);
}

}  // namespace tributary::coordinator
