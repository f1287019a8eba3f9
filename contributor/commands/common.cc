#include "contributor/commands/common.h"

#include <cmath>

#include "common/base/text.h"
#include "common/manifest/resource_name.h"

namespace tributary::contributor {
namespace {

using nlohmann::json;

json DecisionJson(const v1::Decision& decision) {
  json gates = json::array();
  for (const v1::GateResult& gate : decision.gates()) {
    json measurements = json::array();
    for (const v1::Measurement& measured : gate.measurements()) {
      json value = {{"name", measured.name()}, {"value", measured.value()}};
      if (measured.has_minimum()) {
        value["minimum"] = measured.minimum();
      }
      if (measured.has_maximum()) {
        value["maximum"] = measured.maximum();
      }
      measurements.push_back(std::move(value));
    }
    gates.push_back({{"gate", gate.gate()},
                     {"passed", gate.passed()},
                     {"detail", gate.detail()},
                     {"measurements", std::move(measurements)}});
  }
  return {{"outcome", v1::Decision::Outcome_Name(decision.outcome())},
          {"reason", decision.reason()},
          {"decide_time_s", decision.decide_time_s()},
          {"gates", std::move(gates)}};
}

}  // namespace

StatusOr<double> ParseRetry(const std::string& retry_for) {
  if (retry_for == "forever") {
    return 0.0;
  }
  StatusOr<double> seconds = ParseDuration(retry_for);
  if (!seconds.ok()) {
    return Annotate(seconds.status(), "--retry-for (or forever)");
  }
  return seconds;
}

StatusOr<std::unique_ptr<Session>> OpenSession(
    const cli::CommandContext& context, const std::string& retry_for) {
  ASSIGN_OR_RETURN(const double seconds, ParseRetry(retry_for));
  const cli::Output output = context.output;
  return Session::Open(
      {.home = context.home,
       .retry_for_s = seconds,
       .cancellation = &context.cancellation,
       .on_wait = [output](const Status& status, double delay_s) {
         output.Note(fmt::format("waiting {:.0f} s to try again: {}", delay_s,
                                 std::string(status.message())));
       }});
}

void DeclareRetry(CLI::App& command, std::string& retry_for) {
  command
      .add_option("--retry-for", retry_for,
                  "How long to try while the coordinator cannot be reached, "
                  "such as 30s, 15m or forever")
      ->capture_default_str();
}

StageProgress ProgressOn(cli::ProgressBar& bar) {
  return [&bar](std::string_view stage, double fraction,
                std::string_view message) {
    bar.Update(stage, fraction, message);
  };
}

json ToJson(const v1::Contribution& contribution) {
  json value = {{"name", contribution.name()},
                {"contributor", contribution.contributor()},
                {"state", v1::Contribution::State_Name(contribution.state())},
                {"anchor_digest", contribution.anchor_digest()},
                {"create_time_s", contribution.create_time_s()},
                {"update_time_s", contribution.update_time_s()}};
  value["decision"] = contribution.has_decision()
                          ? DecisionJson(contribution.decision())
                          : json(nullptr);
  value["withdrawal"] = contribution.withdrawal().empty()
                            ? json(nullptr)
                            : json(contribution.withdrawal());
  return value;
}

json ToJson(const v1::Withdrawal& withdrawal) {
  json value = {
      {"name", withdrawal.name()},
      {"contribution", withdrawal.contribution()},
      {"state", v1::Withdrawal::State_Name(withdrawal.state())},
      {"withdrawn_releases",
       std::vector<std::string>(withdrawal.withdrawn_releases().begin(),
                                withdrawal.withdrawn_releases().end())},
      {"create_time_s", withdrawal.create_time_s()},
      {"purge_time_s", withdrawal.purge_time_s()}};
  value["new_release"] = withdrawal.new_release().empty()
                             ? json(nullptr)
                             : json(withdrawal.new_release());
  value["last_error"] = withdrawal.has_last_error()
                            ? json(withdrawal.last_error().message())
                            : json(nullptr);
  return value;
}

json ToJson(const v1::Release& release) {
  return {{"name", release.name()},
          {"state", v1::Release::State_Name(release.state())},
          {"digest", release.digest()},
          {"create_time_s", release.create_time_s()},
          {"reason", release.reason()}};
}

json ToJson(const std::vector<MeasuredLoss>& losses,
            const std::string& contribution) {
  json values = json::array();
  for (const MeasuredLoss& loss : losses) {
    values.push_back(
        {{"text", loss.text},
         {"text_label", loss.text == "own" ? contribution : loss.text},
         {"model", loss.model},
         {"log_loss", loss.log_loss},
         {"perplexity", std::exp(loss.log_loss)},
         {"tokens", loss.tokens}});
  }
  return values;
}

std::string LossTable(const std::vector<MeasuredLoss>& losses) {
  std::vector<std::vector<std::string>> rows = {
      {"text", "model", "log-loss", "perplexity", "to anchor", "tokens"}};
  for (const MeasuredLoss& loss : losses) {
    const MeasuredLoss* anchor = FindLoss(losses, loss.text, "anchor");
    rows.push_back(
        {loss.text, loss.model, fmt::format("{:.4f}", loss.log_loss),
         fmt::format("{:.2f}", std::exp(loss.log_loss)),
         anchor == nullptr
             ? ""
             : fmt::format("{:+.4f}", loss.log_loss - anchor->log_loss),
         std::to_string(loss.tokens)});
  }
  return cli::FormatTable(rows);
}

StatusOr<std::string> ContributionArgument(const std::string& name,
                                           const Session& session) {
  if (name.empty()) {
    return session.contribution();
  }
  if (manifest::IsValidId(name)) {
    return name;
  }
  return manifest::ParseResourceName(manifest::Collection::kContributions,
                                     name);
}

}  // namespace tributary::contributor
