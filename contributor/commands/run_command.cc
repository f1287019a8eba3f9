#include <memory>

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/model_format/expert_layout.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"
#include "contributor/daemon/certificate_keeper.h"
#include "contributor/daemon/daemon.h"

namespace tributary::contributor {
namespace {

constexpr int kMostSubmissions = 3;
// Between two looks at the certificates during a long run.
constexpr double kKeeperIntervalS = 60;

struct RunOptions {
  bool once = false;
  std::string retry_for;
  std::string poll = "30s";
};

// What a script wants to know of a finished run.
Status PrintOutcome(const cli::CommandContext& context, Session& session,
                    const v1::Contribution& contribution) {
  nlohmann::json value = ToJson(contribution);
  std::string text =
      fmt::format("{} is {}", contribution.name(),
                  v1::Contribution::State_Name(contribution.state()));
  const StatusOr<EgressReport> report =
      LoadReport(session.home(), session.contribution());
  if (report.ok()) {
    const manifest::ExpertManifest& manifest = report->manifest;
    int64_t parameters = 0;
    for (const auto& tensor : manifest.tensors) {
      int64_t elements = 1;
      for (const int64_t size : tensor.shape) {
        elements *= size;
      }
      parameters += elements;
    }
    value["expert"] = {
        {"file_bytes", manifest.blob.size},
        {"sha256", manifest.blob.sha256},
        {"parameters", parameters},
        {"widths", manifest.widths},
        {"heldout_log_loss_anchor", manifest.method.heldout_log_loss_anchor},
        {"heldout_log_loss_own", manifest.method.heldout_log_loss_own}};
    text += fmt::format(
        "\nexpert file {}, {} parameters; own held-out text {:.4f} -> {:.4f} "
        "nats per token",
        HumanBytes(manifest.blob.size), parameters,
        manifest.method.heldout_log_loss_anchor,
        manifest.method.heldout_log_loss_own);
  }
  context.output.Print(text, value);
  return absl::OkStatus();
}

Status RunOnce(const cli::CommandContext& context, Session& session) {
  RETURN_IF_ERROR(session.RenewCertificate());
  RETURN_IF_ERROR(session.CheckAudit());
  ASSIGN_OR_RETURN(const FileLock lock,
                   LockHome(session.home(), context.cancellation));
  cli::ProgressBar bar(context.output);
  const CertificateKeeper keeper(kKeeperIntervalS,
                                 [&session] { return session.RenewFiles(); });
  const PipelineContext pipeline = session.Context(ProgressOn(bar));
  ASSIGN_OR_RETURN(v1::Contribution contribution,
                   AdvanceContribution(pipeline));
  for (int sent = 1; !IsDecided(contribution) && sent <= kMostSubmissions;
       ++sent) {
    ASSIGN_OR_RETURN(contribution, WaitForDecision(pipeline));
    if (!IsDecided(contribution) && sent < kMostSubmissions) {
      // The coordinator lost it, or asks for it again.
      ASSIGN_OR_RETURN(contribution, AdvanceContribution(pipeline));
    }
  }
  // A head of the audit log that covers the decision.
  RETURN_IF_ERROR(session.CheckAudit());
  RETURN_IF_ERROR(DecisionStatus(contribution));
  return PrintOutcome(context, session, contribution);
}

void LogLine(const std::string& text) { log::Info("{}", text); }

Status RunForever(const cli::CommandContext& context, Session& session,
                  double poll_s) {
  cli::ProgressBar bar(context.output);
  const DaemonEvents events = {
      .progress = ProgressOn(bar),
      .on_contribution =
          [](const v1::Contribution& contribution) {
            const Status status = DecisionStatus(contribution);
            LogLine(fmt::format(
                "{} is {}{}", contribution.name(),
                v1::Contribution::State_Name(contribution.state()),
                status.ok() ? "" : ": " + std::string(status.message())));
          },
      .on_evaluation =
          [](const ReleaseEvaluation& evaluation) {
            for (const MeasuredLoss& loss : evaluation.losses) {
              LogLine(fmt::format("{}: {} text, {}: {:.4f} nats per token",
                                  evaluation.release, loss.text, loss.model,
                                  loss.log_loss));
            }
            if (const std::string warnings = WarningsOf(evaluation);
                !warnings.empty()) {
              log::Warning("{}: {}", evaluation.release, warnings);
            }
          },
      .on_withdrawn_copy =
          [](const std::filesystem::path& copy) {
            log::Warning("{} holds a withdrawn release and was marked",
                         copy.string());
          },
      .on_wait =
          [](const Status& status) {
            log::Warning("waiting: {}", std::string(status.message()));
          }};
  LogLine(fmt::format("running for {} at {}", session.contribution(),
                      session.identity().address));
  RETURN_IF_ERROR(RunDaemon(session, poll_s, context.cancellation, events));
  LogLine("stopped");
  return absl::OkStatus();
}

}  // namespace

void AddRunCommand(cli::CommandLine& line) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = line.AddCommand(
      line.app(), "run",
      "Make, send and follow the contribution, then stay and measure new "
      "releases",
      [options](const cli::CommandContext& context) -> Status {
        if (options->retry_for.empty()) {
          options->retry_for = options->once ? "15m" : "forever";
        }
        ASSIGN_OR_RETURN(const double poll_s, ParseDuration(options->poll));
        ASSIGN_OR_RETURN(const auto session,
                         OpenSession(context, options->retry_for));
        return options->once ? RunOnce(context, *session)
                             : RunForever(context, *session, poll_s);
      });
  command->add_flag("--once", options->once,
                    "End with the coordinator's decision (exit code 9 when "
                    "rejected)");
  command->add_option(
      "--retry-for", options->retry_for,
      "How long to try while the coordinator cannot be reached (default: 15m "
      "with --once, otherwise forever)");
  command
      ->add_option("--poll", options->poll,
                   "Time between two looks at the coordinator")
      ->capture_default_str();
}

}  // namespace tributary::contributor
