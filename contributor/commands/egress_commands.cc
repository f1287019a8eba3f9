#include <memory>
#include <optional>

#include "common/base/files.h"
#include "common/base/text.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"
#include "contributor/egress/ledger.h"
#include "contributor/pipeline/site_rules.h"

namespace tributary::contributor {
namespace {

struct EgressOptions {
  std::string approver;
  std::string key;
  std::string output;
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
  ASSIGN_OR_RETURN(const SiteRules rules, RulesOf(session->config()));
  const StatusOr<ApprovedUpload> approved =
      LoadApproved(session->home(), contribution, rules,
                   session->identity().key.public_key());
  if (!approved.ok() && !absl::IsFailedPrecondition(approved.status())) {
    return approved.status();
  }
  text += approved.ok() ? "\nApproved by " + approved->approver()
                        : "\n" + std::string(approved.status().message());
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
  ASSIGN_OR_RETURN(const SiteRules rules, RulesOf(session->config()));
  ApproveOptions approval = {.approver = options.approver,
                             .mode = ApproveOptions::Mode::kPerson};
  std::optional<crypto::PrivateKey> key;
  if (!options.key.empty()) {
    ASSIGN_OR_RETURN(key, crypto::PrivateKey::Load(options.key));
    approval.approver_key = &*key;
  }
  ASSIGN_OR_RETURN(const int missing,
                   ApproveReport(session->home(), contribution, rules, approval,
                                 session->identity().key, SystemClock()));
  ASSIGN_OR_RETURN(const EgressReport report,
                   LoadReport(session->home(), contribution));
  const std::string text =
      missing > 0
          ? fmt::format("recorded; {} needed before contributions/{} may leave",
                        missing == 1 ? "the approval of one more person is"
                                     : fmt::format("the approvals of {} more "
                                                   "persons are",
                                                   missing),
                        contribution)
          : fmt::format(
                "contributions/{} is approved by {}: {} may leave. "
                "Next: `tributary-contributor submit` or `run`",
                contribution, options.approver,
                HumanBytes(report.manifest.blob.size));
  context.output.Print(text, {{"contribution", contribution},
                              {"approver", options.approver},
                              {"missing_approvals", missing},
                              {"report_digest", report.digest}});
  return absl::OkStatus();
}

// A key pair of a person who approves, apart from the site's own identity.
Status MakeApproverKey(const cli::CommandContext& context,
                       const EgressOptions& options) {
  const std::string public_file = options.output + ".pub";
  std::error_code error;
  for (const std::string& file : {options.output, public_file}) {
    if (std::filesystem::exists(file, error)) {
      return AlreadyExists("{} is there already; a key is not overwritten",
                           file);
    }
  }
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Generate());
  RETURN_IF_ERROR(key.Save(options.output));
  RETURN_IF_ERROR(WriteFileAtomic(public_file, key.public_key().ToPem()));
  context.output.Print(
      fmt::format("wrote {} (keep it to yourself) and {}; the site's "
                  "administrator names the latter in policy.approver_keys",
                  options.output, public_file),
      {{"private_key", options.output},
       {"public_key", public_file},
       {"key_id", key.public_key().key_id()}});
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
  approve->add_option(
      "--key", options->key,
      "The approver's private key, where the policy names keys");
  CLI::App* approver_key = line.AddCommand(
      group, "approver-key", "Make a key pair for a person who approves",
      [options](const cli::CommandContext& context) {
        return MakeApproverKey(context, *options);
      });
  approver_key->add_option("--output", options->output, "File to write")
      ->required();
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
