#include "coordinator/report/model_card.h"

#include <algorithm>
#include <cmath>

#include "common/base/text.h"

namespace tributary::coordinator {
namespace {

// A value on one line of YAML.
std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
    }
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + "\"";
}

// Text in a table's cell.
std::string TableCell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') {
      out += "\\|";
    } else {
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

std::string FrontMatter(const ReleaseFacts& facts, const std::string& licence) {
  std::string text = "---\n";
  if (!licence.empty()) {
    text += "license: " + Quoted(licence) + "\n";
  }
  return text +
         "library_name: transformers\npipeline_tag: text-generation\ntags:\n"
         "- mixture-of-experts\n- tributary\n---\n\n# " +
         facts.name() + "\n\n";
}

std::string Summary(const ReleaseFacts& facts, const std::string& licence) {
  const auto& routing = facts.release.routing;
  std::string text = fmt::format(
      "A mixture of experts over the model `{}`, merged by Tributary from {} "
      "experts that their owners trained on site, on text that never left it. "
      "Every token is computed by {} of {} experts (softmax over all, top-{}, "
      "weights {}); expert 0 is the anchor's own feed-forward network.\n\n",
      facts.release.anchor.name, facts.experts.size(),
      std::min<int64_t>(routing.top_k,
                        static_cast<int64_t>(facts.experts.size()) + 1),
      facts.experts.size() + 1, routing.top_k,
      routing.renormalise ? "renormalised" : "not renormalised");
  text += fmt::format(
      "| | |\n| --- | --- |\n| parameters of the release | {} |\n"
      "| active per token, on average under even use | {} |\n"
      "| parameters of the anchor | {} |\n| licence of the anchor | {} |\n\n",
      Grouped(facts.total_parameters), Grouped(facts.active_parameters),
      Grouped(facts.anchor_parameters),
      licence.empty() ? "its files do not say; ask its publisher"
                      : TableCell(licence));
  return text +
         "Counted as trained: in this format all experts of a layer have one "
         "width and are padded with zeros, and an expert without weights in a "
         "layer is a copy of the anchor's network there.\n\n";
}

std::string ExpertTable(const ReleaseFacts& facts) {
  std::string text =
      "## Experts\n\n| id | contribution | owner | widths | parameters | how | "
      "training tokens | expert file (SHA-256) |\n| --- | --- | --- | --- | "
      "--- | --- | --- | --- |\n| 0 | (public) | | the anchor | | | | |\n";
  int id = 0;
  for (const ExpertFacts& expert : facts.experts) {
    text += fmt::format(
        "| {} | {} | {} | {} | {} | {} | {} | `{}` |\n", ++id,
        expert.entry.contribution, expert.entry.contributor,
        DescribeWidths(expert.entry.widths), Grouped(expert.parameters),
        expert.manifest ? TableCell(expert.manifest->method.recipe) : "",
        expert.manifest ? Grouped(expert.manifest->method.tokens) : "",
        expert.entry.blob.sha256);
  }
  return text + "\n";
}

// Whether an expert's rows came with a bias.
bool KeepsBias(const ReleaseFacts& facts) {
  return std::any_of(
      facts.experts.begin(), facts.experts.end(), [](const auto& expert) {
        return expert.manifest && !expert.manifest->method.folded &&
               expert.manifest->method.router_method == "logistic";
      });
}

std::string Evaluation(const ReleaseFacts& facts) {
  if (facts.losses.empty()) {
    return "";
  }
  std::string text =
      "## Evaluation\n\nLog-loss in nats per token on held-out text. Owners "
      "measure on their own text and report numbers only.";
  if (KeepsBias(facts)) {
    text +=
        " Some rows of the release's router have a bias, which this format "
        "has no place for: it is folded into the rows here, and the losses "
        "were measured before.";
  }
  text +=
      "\n\n| text | measured by | model | log-loss | perplexity |\n"
      "| --- | --- | --- | --- | --- |\n";
  for (const LossFact& loss : facts.losses) {
    text += fmt::format("| {} | {} | {} | {:.4f} | {:.2f} |\n",
                        TableCell(loss.text), TableCell(loss.evaluator),
                        TableCell(loss.model), loss.log_loss,
                        std::exp(loss.log_loss));
  }
  return text + "\n";
}

std::string ProvenanceText(const ReleaseFacts& facts) {
  std::string text = fmt::format(
      "## Provenance\n\n| | |\n| --- | --- |\n| release manifest (SHA-256) | "
      "`{}` |\n| anchor manifest (SHA-256) | `{}` |\n| router file | `{}` |\n",
      facts.digest, facts.release.anchor.digest,
      facts.release.router_blob.ToString());
  if (facts.statement) {
    text += fmt::format(
        "| made | {} |\n| signed by | `{}` |\n| previous release | {} |\n",
        FormatTime(static_cast<double>(facts.statement->create_time_s)),
        facts.signer_key_id,
        facts.previous_release.empty() ? "none" : facts.previous_release);
  }
  return text +
         "\nAn owner can take an expert out of the federation at any time; "
         "the release is then no longer served, and a new one is made without "
         "it. Before you build on this copy, ask the federation whether it is "
         "still current.\n";
}

}  // namespace

std::string ModelCard(const ReleaseFacts& facts, const std::string& licence) {
  const std::string& known = licence.empty() ? facts.anchor_licence : licence;
  return FrontMatter(facts, known) + Summary(facts, known) +
         ExpertTable(facts) + Evaluation(facts) + ProvenanceText(facts);
}

}  // namespace tributary::coordinator
