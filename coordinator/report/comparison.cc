#include "coordinator/report/comparison.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "coordinator/report/picture.h"

namespace tributary::coordinator {
namespace {

constexpr char kRelease[] = "release";

// Reads fields and keeps the first thing that is wrong.
class Fields {
 public:
  const Json& At(const Json& object, const char* name) {
    static const Json kNothing;
    if (!object.is_object() || !object.contains(name)) {
      Fail(name);
      return kNothing;
    }
    return object[name];
  }
  const Json& List(const Json& object, const char* name) {
    static const Json kEmpty = Json::array();
    const Json& value = At(object, name);
    if (!value.is_array()) {
      Fail(name);
      return kEmpty;
    }
    return value;
  }
  std::string Text(const Json& object, const char* name) {
    const Json& value = At(object, name);
    if (!value.is_string()) {
      Fail(name);
      return "";
    }
    return value.get<std::string>();
  }
  double Number(const Json& object, const char* name) {
    const Json& value = At(object, name);
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      Fail(name);
      return 0;
    }
    return value.get<double>();
  }
  int64_t Count(const Json& object, const char* name) {
    const double value = Number(object, name);
    if (value < 0 || value > 1e15) {
      Fail(name);
      return 0;
    }
    return static_cast<int64_t>(value);
  }
  void Fail(const char* name) {
    if (status_.ok()) {
      status_ = InvalidArgument(
          "comparison: \"{}\" is missing or wrong; was it made by `release "
          "compare`?",
          name);
    }
  }
  const Status& status() const { return status_; }

 private:
  Status status_;
};

std::string Percent(double share) {
  return fmt::format("{:.1f} %", 100 * share);
}

// The lines of a verdict about the release.
std::vector<std::string> Verdict(const Comparison& comparison) {
  std::vector<std::string> lines;
  if (const auto kept = comparison.LeastGainKept(kRelease)) {
    lines.push_back(
        fmt::format("The release keeps at least {} of every owner's own gain.",
                    Percent(*kept)));
  }
  if (const auto ratio = comparison.PublicPerplexityRatio(kRelease)) {
    lines.push_back(fmt::format(
        "Its perplexity on text of nobody is {:.4f} of the anchor's.", *ratio));
  }
  return lines;
}

std::string LossCell(const Comparison::Loss& loss, bool anchor) {
  std::string cell = fmt::format("{:.4f} <span class=\"soft\">({:.2f})</span>",
                                 loss.log_loss, std::exp(loss.log_loss));
  if (!anchor) {
    const char* judged = loss.change < -0.0005  ? "good"
                         : loss.change > 0.0005 ? "bad"
                                                : "soft";
    cell += fmt::format("<br><span class=\"{}\">{:+.4f}</span>", judged,
                        loss.change);
  }
  if (!anchor && loss.gain_kept) {
    cell += fmt::format(" <span class=\"soft\">{}</span>",
                        Percent(*loss.gain_kept));
  }
  return cell;
}

}  // namespace

StatusOr<Comparison> Comparison::FromJson(const Json& value) {
  Fields fields;
  Comparison comparison;
  for (const Json& text : fields.List(value, "texts")) {
    comparison.texts.push_back(
        {.name = fields.Text(text, "name"),
         .contribution = fields.Text(text, "contribution"),
         .tokens = fields.Count(text, "predicted_tokens")});
  }
  for (const Json& item : fields.List(value, "models")) {
    const Json& parameters = fields.At(item, "parameters");
    Model& model = comparison.models.emplace_back();
    model.id = fields.Text(item, "id");
    model.label = fields.Text(item, "label");
    model.contribution = fields.Text(item, "contribution");
    model.total_parameters = fields.Count(parameters, "total");
    model.active_parameters = fields.Count(parameters, "active");
    for (const Json& loss : fields.List(item, "losses")) {
      Loss& entry = model.losses.emplace_back();
      entry.log_loss = fields.Number(loss, "log_loss");
      entry.change = fields.Number(loss, "change");
      if (!fields.At(loss, "gain_kept").is_null()) {
        entry.gain_kept = fields.Number(loss, "gain_kept");
      }
    }
    if (model.losses.size() != comparison.texts.size()) {
      fields.Fail("losses");
    }
  }
  if (comparison.texts.empty() || comparison.models.empty()) {
    fields.Fail("models");
  }
  RETURN_IF_ERROR(fields.status());
  return comparison;
}

std::optional<double> Comparison::LeastGainKept(const std::string& id) const {
  std::optional<double> least;
  for (const Model& model : models) {
    for (const Loss& loss : model.losses) {
      if (model.id == id && loss.gain_kept) {
        least = std::min(least.value_or(*loss.gain_kept), *loss.gain_kept);
      }
    }
  }
  return least;
}

std::optional<double> Comparison::PublicPerplexityRatio(
    const std::string& id) const {
  std::optional<double> highest;
  for (const Model& model : models) {
    for (size_t t = 0; t < texts.size(); ++t) {
      if (model.id == id && texts[t].contribution.empty()) {
        const double ratio = std::exp(model.losses[t].change);
        highest = std::max(highest.value_or(ratio), ratio);
      }
    }
  }
  return highest;
}

std::string ComparisonTable(const Comparison& comparison) {
  std::vector<std::vector<std::string>> rows(1);
  rows[0] = {"model"};
  for (const Comparison::Text& text : comparison.texts) {
    rows[0].push_back(text.name);
  }
  rows[0].insert(rows[0].end(), {"parameters", "active"});
  for (const Comparison::Model& model : comparison.models) {
    auto& row = rows.emplace_back();
    row.push_back(model.label);
    for (const Comparison::Loss& loss : model.losses) {
      std::string cell =
          fmt::format("{:.3f} {:+.3f}", loss.log_loss, loss.change);
      if (loss.gain_kept) {
        cell += fmt::format(" {:3.0f} %", 100 * *loss.gain_kept);
      }
      row.push_back(std::move(cell));
    }
    row.push_back(Millions(model.total_parameters));
    row.push_back(Millions(model.active_parameters));
  }
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) {
      widths[c] = std::max(widths[c], row[c].size());
    }
  }
  std::string table;
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      line += fmt::format("{:<{}}  ", row[c], widths[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + "\n";
  }
  for (const std::string& line : Verdict(comparison)) {
    table += line + "\n";
  }
  return table;
}

PageSection ComparisonSection(const Comparison& comparison) {
  std::string body = Paragraph(
      "Every model on the same windows of text: log-loss in nats per token "
      "and, in brackets, perplexity; the change against the anchor; and on "
      "owners' text the share of the gain of the owner's own model (anchor and "
      "own expert) that is kept.");
  std::vector<std::string> head = {"model"};
  for (const Comparison::Text& text : comparison.texts) {
    head.push_back(EscapeMarkup(text.name));
  }
  head.insert(head.end(), {"parameters", "active per token"});
  std::vector<std::vector<std::string>> rows;
  for (const Comparison::Model& model : comparison.models) {
    auto& row = rows.emplace_back();
    row.push_back(model.id == kRelease
                      ? "<b>" + EscapeMarkup(model.label) + "</b>"
                      : EscapeMarkup(model.label));
    for (const Comparison::Loss& loss : model.losses) {
      row.push_back(LossCell(loss, model.id == "anchor"));
    }
    row.push_back(Millions(model.total_parameters));
    row.push_back(Millions(model.active_parameters));
  }
  body += Table("Models made of the same experts", head, rows, 1);
  const std::vector<std::string> verdict = Verdict(comparison);
  if (!verdict.empty()) {
    body += BulletList(verdict);
  }
  return {.id = "baselines", .heading = "Baselines", .body = std::move(body)};
}

}  // namespace tributary::coordinator
