#include <memory>

#include "common/base/text.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"
#include "contributor/egress/ledger.h"

namespace tributary::contributor {
namespace {

struct EgressOptions {
  std::string approver;
  std::string retry_for = kShortRetry;
  bool wait = false;
};

StatusOr<nlohmann::json> ParseReport(const EgressReport& report) {
  nlohmann::json value = nlohmann::json::parse(report.json, nullptr, false);
  if (value.is_discarded()) {
    return InvalidArgument("the egress report is not valid JSON");
  }
  value["report_digest"] = report.digest;
  return value;
}

Status Show(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, kShortRetry));
  const std::string contribution = session->contribution();
  ASSIGN_OR_RETURN(const EgressReport report,
                   LoadReport(session->home(), contribution));
  ASSIGN_OR_RETURN(std::string text,
                   LoadReportText(session->home(), contribution));
  const StatusOr<ApprovedUpload> approved = LoadApproved(
      session->home(), contribution, session->identity().key.public_key());
  if (!approved.ok() && !absl::IsFailedPrecondition(approved.status())) {
    return approved.status();
  }
  text += approved.ok() ? "\nApproved by " + approved->approver()
                        : std::string("\nNot approved yet");
  ASSIGN_OR_RETURN(nlohmann::json value, ParseReport(report));
  value["approved"] = approved.ok();
  value["approver"] = approved.ok() ? nlohmann::json(approved->approver())
                                    : nlohmann::json(nullptr);
  context.output.Print(text, value);
  return absl::OkStatus();
}

Status Approve(const cli::CommandContext& context,
               const EgressOptions& options) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, kShortRetry));
  const std::string contribution = session->contribution();
  RETURN_IF_ERROR(ApproveReport(
      session->home(), contribution, RulesOf(session->config()),
      {.approver = options.approver, .mode = ApproveOptions::Mode::kPerson},
      session->identity().key, SystemClock()));
  ASSIGN_OR_RETURN(const EgressReport report,
                   LoadReport(session->home(), contribution));
  context.output.Print(
      fmt::format("contributions/{} is approved by {}: {} may leave. Next: "
                  "`tributary-contributor submit` or `run`",
                  contribution, options.approver,
                  HumanBytes(report.manifest.blob.size)),
      {{"contribution", contribution},
       {"approver", options.approver},
       {"report_digest", report.digest}});
  return absl::OkStatus();
}

Status ShowLedger(const cli::CommandContext& context) {
  const Home home(context.home);
  ASSIGN_OR_RETURN(const Identity identity, LoadIdentity(home));
  ASSIGN_OR_RETURN(const Ledger ledger,
                   Ledger::Open(home.Ledger(), identity.key));
  std::vector<std::vector<std::string>> rows = {
      {"time", "who", "what", "on", "details"}};
  nlohmann::json entries = nlohmann::json::array();
  for (const manifest::LedgerEntry& entry : ledger.entries()) {
    rows.push_back({FormatTime(static_cast<double>(entry.time_s)), entry.actor,
                    entry.action, entry.subject, entry.detail_json});
    entries.push_back(
        {{"time_s", entry.time_s},
         {"actor", entry.actor},
         {"action", entry.action},
         {"subject", entry.subject},
         {"detail", nlohmann::json::parse(entry.detail_json, nullptr, false)}});
  }
  context.output.Print(cli::FormatTable(rows), {{"entries", entries}});
  return absl::OkStatus();
}

Status SubmitApproved(const cli::CommandContext& context,
                      const EgressOptions& options) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, options.retry_for));
  ASSIGN_OR_RETURN(const FileLock lock,
                   LockHome(session->home(), context.cancellation));
  cli::ProgressBar bar(context.output);
  const PipelineContext pipeline = session->Context(ProgressOn(bar));
  ASSIGN_OR_RETURN(v1::Contribution contribution, SendApproved(pipeline));
  if (options.wait && !IsDecided(contribution)) {
    ASSIGN_OR_RETURN(contribution, WaitForDecision(pipeline));
  }
  if (options.wait) {
    RETURN_IF_ERROR(DecisionStatus(contribution));
  }
  context.output.Print(
      fmt::format("{} is {}", contribution.name(),
                  v1::Contribution::State_Name(contribution.state())),
      ToJson(contribution));
  return absl::OkStatus();
}

}  // namespace

void AddEgressCommands(cli::CommandLine& line) {
  auto options = std::make_shared<EgressOptions>();
  CLI::App& group = *line.AddGroup("egress", "What leaves this site");
  line.AddCommand(group, "show", "Everything that would leave, to the byte",
                  Show);
  CLI::App* approve = line.AddCommand(
      group, "approve", "Consent to what `egress show` describes",
      [options](const cli::CommandContext& context) {
        return Approve(context, *options);
      });
  approve
      ->add_option("--approver", options->approver,
                   "Name of the person who consents")
      ->required()
      ->check(CLI::Validator(
          [](const std::string& name) {
            return name.empty() ? std::string("wanted a name") : std::string();
          },
          "NAME"));
  line.AddCommand(group, "ledger",
                  "Verify and print the signed history of what left",
                  ShowLedger);
  CLI::App* submit =
      line.AddCommand(line.app(), "submit",
                      "Register, upload and submit the approved contribution",
                      [options](const cli::CommandContext& context) {
                        return SubmitApproved(context, *options);
                      });
  submit->add_flag("--wait", options->wait,
                   "Wait for the decision (exit code 9 when rejected)");
  DeclareRetry(*submit, options->retry_for);
}

}  // namespace tributary::contributor
