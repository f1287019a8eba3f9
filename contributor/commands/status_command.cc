#include <memory>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "contributor/client/copies.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"
#include "contributor/pipeline/site_rules.h"

namespace tributary::contributor {
namespace {

using nlohmann::json;

// What the coordinator said, now or at the last contact.
struct Remote {
  json value;  // {"time_s", "contribution", "releases"}; null: never
  Status error;
};

Remote AskCoordinator(Session& session) {
  Remote remote;
  const auto fail = [&](const Status& status) {
    remote.error = status;
    const auto stored = ReadFile(session.home().Contact(), 16 << 20);
    if (stored.ok()) {
      const json value = json::parse(*stored, nullptr, false);
      remote.value = value.is_discarded() ? json(nullptr) : value;
    }
    return remote;
  };
  json value = {{"time_s", static_cast<int64_t>(SystemClock().NowSeconds())},
                {"contribution", nullptr},
                {"releases", json::array()}};
  const StatusOr<v1::Contribution> contribution =
      session.client().GetContribution(session.contribution());
  if (contribution.ok()) {
    value["contribution"] = ToJson(*contribution);
  } else if (!absl::IsNotFound(contribution.status())) {
    return fail(contribution.status());
  }
  const StatusOr<std::vector<v1::Release>> releases =
      session.client().ListReleases();
  if (!releases.ok()) {
    return fail(releases.status());
  }
  for (const v1::Release& release : *releases) {
    value["releases"].push_back(ToJson(release));
  }
  remote.error = MarkWithdrawnCopies(session.home(), *releases).status();
  if (remote.error.ok()) {
    remote.error = WriteFileAtomic(session.home().Contact(), value.dump(2));
  }
  remote.value = std::move(value);
  return remote;
}

// [{"stage", "state"}] of the anchor that the pipeline used last.
StatusOr<json> StageStates(Session& session) {
  json stages = json::array();
  const PipelineContext context = session.Context(nullptr);
  const StatusOr<FetchedAnchor> anchor = StoredAnchor(context);
  if (!anchor.ok()) {
    return stages;
  }
  ASSIGN_OR_RETURN(const LocalPipeline pipeline,
                   LocalPipeline::Create(session.home(), session.config(),
                                         FactsOf(*anchor)));
  ASSIGN_OR_RETURN(const std::vector<StageState> states, pipeline.States());
  for (size_t i = 0; i < states.size(); ++i) {
    stages.push_back({{"stage", pipeline.stages()[i].name},
                      {"state", StageStateName(states[i])}});
  }
  return stages;
}

std::string RemoteText(const Remote& remote) {
  std::string text;
  if (!remote.error.ok()) {
    text += "coordinator   " + std::string(remote.error.message()) + "\n";
  }
  if (remote.value.is_null()) {
    return text;
  }
  if (!remote.error.ok()) {
    text +=
        "last contact  " + FormatTime(remote.value.value("time_s", 0.0)) + "\n";
  }
  const json& contribution = remote.value["contribution"];
  if (contribution.is_object()) {
    text += "state         " + contribution.value("state", "");
    if (contribution.value("decision", json()).is_object()) {
      text += ": " + contribution["decision"].value("reason", "");
    }
    text += "\n";
  } else {
    text += "state         not registered\n";
  }
  for (const json& release : remote.value["releases"]) {
    text += fmt::format("release       {} {}\n", release.value("name", ""),
                        release.value("state", ""));
  }
  return text;
}

Status PrintStatus(const cli::CommandContext& context,
                   const std::string& retry_for) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, retry_for));
  const Identity& identity = session->identity();
  const std::string contribution = session->contribution();
  const StatusOr<json> stages = StageStates(*session);
  const Remote remote = AskCoordinator(*session);
  const bool reported = LoadReport(session->home(), contribution).ok();
  ASSIGN_OR_RETURN(const SiteRules rules, RulesOf(session->config()));
  const StatusOr<ApprovedUpload> approved = LoadApproved(
      session->home(), contribution, rules, identity.key.public_key());

  std::string text = fmt::format(
      "contributor   {} in federation {} at {}\n"
      "certificate   until {}\n"
      "contribution  {}\n",
      identity.contributor_id, identity.federation, identity.address,
      FormatTime(static_cast<double>(identity.certificate.not_after_s())),
      contribution);
  if (!stages.ok()) {
    text += "stages        " + std::string(stages.status().message()) + "\n";
  } else {
    for (const json& stage : *stages) {
      text += fmt::format("stage         {:<14}{}\n",
                          stage["stage"].get<std::string>(),
                          stage["state"].get<std::string>());
    }
  }
  text += fmt::format("egress        {}\n",
                      approved.ok() ? "approved by " + approved->approver()
                      : reported
                          ? "waits: " + std::string(approved.status().message())
                          : "no report yet");
  text += RemoteText(remote);
  json value = {
      {"contributor_id", identity.contributor_id},
      {"federation", identity.federation},
      {"address", identity.address},
      {"certificate_expire_time_s", identity.certificate.not_after_s()},
      {"contribution", contribution},
      {"stages", stages.ok() ? *stages : json(nullptr)},
      {"egress", approved.ok() ? "approved"
                 : reported    ? "reported"
                               : "none"},
      {"coordinator", remote.value}};
  value["coordinator_error"] = remote.error.ok()
                                   ? json(nullptr)
                                   : json(std::string(remote.error.message()));
  context.output.Print(text, value);
  return absl::OkStatus();
}

}  // namespace

void AddStatusCommand(cli::CommandLine& line) {
  auto retry_for = std::make_shared<std::string>("2s");
  CLI::App* command = line.AddCommand(
      line.app(), "status",
      "Stages, contribution, decision and releases; works without a network",
      [retry_for](const cli::CommandContext& context) {
        return PrintStatus(context, *retry_for);
      });
  DeclareRetry(*command, *retry_for);
}

}  // namespace tributary::contributor
