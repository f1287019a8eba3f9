#include "coordinator/commands/contribution_commands.h"

#include <memory>

#include "absl/strings/ascii.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/manifest/resource_name.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"
#include "coordinator/commands/paged_list.h"

namespace tributary::coordinator {
namespace {

std::string ContributionName(const std::string& name) {
  return manifest::FullResourceName(manifest::Collection::kContributions, name);
}

std::string StateName(const v1::Contribution& contribution) {
  return v1::Contribution::State_Name(contribution.state());
}

std::string MeasurementText(const v1::Measurement& measurement) {
  std::string text =
      fmt::format("    {} = {:.6g}", measurement.name(), measurement.value());
  if (measurement.has_minimum()) {
    text += fmt::format(", at least {:.6g}", measurement.minimum());
  }
  if (measurement.has_maximum()) {
    text += fmt::format(", at most {:.6g}", measurement.maximum());
  }
  return text + "\n";
}

std::string Describe(const v1::Contribution& contribution) {
  std::string text = fmt::format(
      "{}\n  state        {}\n  contributor  {}\n  anchor       {}\n",
      contribution.name(), StateName(contribution), contribution.contributor(),
      contribution.anchor_digest());
  if (!contribution.withdrawal().empty()) {
    text += fmt::format("  withdrawal   {}\n", contribution.withdrawal());
  }
  if (!contribution.has_decision()) {
    return text;
  }
  const v1::Decision& decision = contribution.decision();
  text +=
      fmt::format("  decision     {}: {}\n",
                  ShortEnumName(v1::Decision::Outcome_Name(decision.outcome())),
                  decision.reason());
  for (const v1::GateResult& gate : decision.gates()) {
    text += fmt::format("  {} {}: {}\n", gate.passed() ? "passed" : "FAILED",
                        gate.gate(), gate.detail());
    for (const v1::Measurement& measurement : gate.measurements()) {
      text += MeasurementText(measurement);
    }
  }
  return text;
}

struct ContributionListOptions {
  std::string state;
  std::string contributor;
};

v1::ListAllContributionsRequest RequestFor(
    const ContributionListOptions& options) {
  v1::ListAllContributionsRequest request;
  std::string filter;
  if (!options.state.empty()) {
    filter = "state = " + absl::AsciiStrToUpper(options.state);
  }
  if (!options.contributor.empty()) {
    filter += fmt::format(
        "{}contributor = \"{}\"", filter.empty() ? "" : " AND ",
        manifest::FullResourceName(manifest::Collection::kContributors,
                                   options.contributor));
  }
  request.set_filter(filter);
  return request;
}

Status ListContributions(const ContributionListOptions& options,
                         const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const auto contributions,
      ListAll<v1::Contribution>(
          *client, client->admin(),
          &v1::AdminService::Stub::ListAllContributions,
          [](const v1::ListContributionsResponse& page) -> const auto& {
            return page.contributions();
          },
          RequestFor(options)));
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "CONTRIBUTOR", "STATE", "CHANGED"}};
  nlohmann::json values = nlohmann::json::array();
  for (const v1::Contribution& contribution : contributions) {
    rows.push_back(
        {contribution.name(), contribution.contributor(),
         StateName(contribution),
         FormatTime(static_cast<double>(contribution.update_time_s()))});
    values.push_back(MessageJson(contribution));
  }
  context.output.Print(cli::FormatTable(rows), {{"contributions", values}});
  return absl::OkStatus();
}

Status ShowContribution(const std::string& name,
                        const cli::CommandContext& context) {
  v1::GetContributionRequest request;
  request.set_name(ContributionName(name));
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::Contribution contribution,
      client->Call(client->admin(), &v1::AdminService::Stub::GetAnyContribution,
                   request));
  context.output.Print(Describe(contribution), MessageJson(contribution));
  return absl::OkStatus();
}

Status Decide(const std::string& name, v1::Decision::Outcome outcome,
              const std::string& reason, const cli::CommandContext& context) {
  v1::DecideContributionRequest request;
  request.set_request_id(RandomUuid());
  request.set_name(ContributionName(name));
  request.set_outcome(outcome);
  request.set_reason(reason);
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::Contribution contribution,
      client->Call(client->admin(), &v1::AdminService::Stub::DecideContribution,
                   request));
  context.output.Print(Describe(contribution), MessageJson(contribution));
  return absl::OkStatus();
}

// A decision that needs a reason.
struct ReasonedDecision {
  const char* command;
  const char* summary;
  v1::Decision::Outcome outcome;
};

void AddDecision(cli::CommandLine& command_line, CLI::App& group,
                 const ReasonedDecision& decision) {
  struct Options {
    std::string name;
    std::string reason;
  };
  auto options = std::make_shared<Options>();
  const v1::Decision::Outcome outcome = decision.outcome;
  CLI::App* command = command_line.AddCommand(
      group, decision.command, decision.summary,
      [options, outcome](const cli::CommandContext& context) {
        return Decide(options->name, outcome, options->reason, context);
      });
  command->add_option("name", options->name, "Name of the contribution")
      ->required();
  command->add_option("--reason", options->reason, "Shown to the contributor")
      ->required();
}

}  // namespace

void AddContributionCommands(cli::CommandLine& command_line) {
  CLI::App& group =
      *command_line.AddGroup("contribution", "Experts and their admission");
  auto filter = std::make_shared<ContributionListOptions>();
  CLI::App* list =
      command_line.AddCommand(group, "list", "Contributions, newest first",
                              [filter](const cli::CommandContext& context) {
                                return ListContributions(*filter, context);
                              });
  list->add_option("--state", filter->state,
                   "Only those in that state, such as QUARANTINED");
  list->add_option("--contributor", filter->contributor,
                   "Only those of that contributor");
  auto shown = std::make_shared<std::string>();
  CLI::App* show = command_line.AddCommand(
      group, "show", "A contribution with its decision and numbers",
      [shown](const cli::CommandContext& context) {
        return ShowContribution(*shown, context);
      });
  show->add_option("name", *shown, "Name of the contribution")->required();

  auto accepted = std::make_shared<std::string>();
  CLI::App* accept = command_line.AddCommand(
      group, "accept", "Accept a quarantined contribution",
      [accepted](const cli::CommandContext& context) {
        return Decide(*accepted, v1::Decision::OUTCOME_ACCEPTED, "", context);
      });
  accept->add_option("name", *accepted, "Name of the contribution")->required();

  AddDecision(command_line, group,
              {.command = "reject",
               .summary = "Reject what waits, or what no release holds yet",
               .outcome = v1::Decision::OUTCOME_REJECTED});
  AddDecision(command_line, group,
              {.command = "quarantine",
               .summary = "Let one wait for you: it enters no release",
               .outcome = v1::Decision::OUTCOME_QUARANTINED});
}

}  // namespace tributary::coordinator
