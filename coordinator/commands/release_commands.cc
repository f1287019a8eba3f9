#include "coordinator/commands/release_commands.h"

#include <unistd.h>

#include <cmath>
#include <memory>

#include "common/base/random.h"
#include "common/base/text.h"
#include "common/cli/progress.h"
#include "common/manifest/resource_name.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"
#include "coordinator/commands/paged_list.h"
#include "coordinator/release/router_modes.h"

namespace tributary::coordinator {
namespace {

constexpr unsigned kPollMicroseconds = 200'000;

std::string Describe(const v1::Release& release) {
  std::string text =
      fmt::format("{}\n  state   {}\n  digest  {}\n  made    {}\n",
                  release.name(), v1::Release::State_Name(release.state()),
                  release.digest().empty() ? "-" : release.digest(),
                  FormatTime(static_cast<double>(release.create_time_s())));
  if (!release.reason().empty()) {
    text += fmt::format("  reason  {}\n", release.reason());
  }
  const auto manifest =
      nlohmann::json::parse(release.manifest_json(), nullptr, false);
  if (manifest.is_object() && manifest.contains("experts")) {
    for (const auto& expert : manifest["experts"]) {
      text +=
          fmt::format("  expert  {} by {}\n", expert.value("contribution", ""),
                      expert.value("contributor", ""));
    }
  }
  if (release.evaluations_size() > 0) {
    std::vector<std::vector<std::string>> rows = {
        {"EVALUATOR", "TEXT", "MODEL", "LOG-LOSS", "PERPLEXITY", "TOKENS"}};
    for (const v1::Evaluation& evaluation : release.evaluations()) {
      rows.push_back({evaluation.evaluator(), evaluation.text_label(),
                      evaluation.model(),
                      fmt::format("{:.4f}", evaluation.log_loss()),
                      fmt::format("{:.2f}", std::exp(evaluation.log_loss())),
                      std::to_string(evaluation.tokens())});
    }
    text += cli::FormatTable(rows);
  }
  return text;
}

StatusOr<v1::Release> Get(AdminClient& client, const std::string& name) {
  v1::GetReleaseRequest request;
  request.set_name(
      manifest::FullResourceName(manifest::Collection::kReleases, name));
  return client.Call(client.releases(), &v1::ReleaseService::Stub::GetRelease,
                     request);
}

// Follows a build to its end.
StatusOr<v1::Release> Wait(AdminClient& client, v1::Release release,
                           const cli::CommandContext& context) {
  context.output.Note("building " + release.name());
  while (release.state() == v1::Release::BUILDING) {
    RETURN_IF_ERROR(context.cancellation.Check());
    usleep(kPollMicroseconds);
    ASSIGN_OR_RETURN(release, Get(client, release.name()));
  }
  if (release.state() == v1::Release::FAILED) {
    return Aborted("{} failed and is not published: {}", release.name(),
                   release.reason());
  }
  return release;
}

Status Build(const std::string& router, bool wait,
             const cli::CommandContext& context) {
  v1::BuildReleaseRequest request;
  request.set_request_id(RandomUuid());
  request.set_router_mode(router);
  if (const std::string caution = RouterModeCaution(router); !caution.empty()) {
    context.output.Note("warning: " + caution);
  }
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      v1::Release release,
      client->Call(client->admin(), &v1::AdminService::Stub::BuildRelease,
                   request));
  if (wait) {
    ASSIGN_OR_RETURN(release, Wait(*client, std::move(release), context));
  }
  context.output.Print(Describe(release), MessageJson(release));
  return absl::OkStatus();
}

Status ListReleases(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const auto releases,
      ListAll<v1::Release>(
          *client, client->releases(), &v1::ReleaseService::Stub::ListReleases,
          [](const v1::ListReleasesResponse& page) -> const auto& {
            return page.releases();
          }));
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "MADE", "DIGEST"}};
  nlohmann::json values = nlohmann::json::array();
  for (const v1::Release& release : releases) {
    rows.push_back({release.name(), v1::Release::State_Name(release.state()),
                    FormatTime(static_cast<double>(release.create_time_s())),
                    release.digest().empty() ? "-" : release.digest()});
    values.push_back(MessageJson(release));
  }
  context.output.Print(cli::FormatTable(rows), {{"releases", values}});
  return absl::OkStatus();
}

Status ShowRelease(const std::string& name,
                   const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(const v1::Release release, Get(*client, name));
  context.output.Print(Describe(release), MessageJson(release));
  return absl::OkStatus();
}

}  // namespace

CLI::App& AddReleaseCommands(cli::CommandLine& command_line) {
  CLI::App& group = *command_line.AddGroup("release", "Published merges");
  struct BuildOptions {
    std::string router;
    bool wait = false;
  };
  auto options = std::make_shared<BuildOptions>();
  CLI::App* build = command_line.AddCommand(
      group, "build", "Merge all accepted contributions and publish",
      [options](const cli::CommandContext& context) {
        return Build(options->router, options->wait, context);
      });
  build
      ->add_option("--router", options->router,
                   "discriminant, trained, ridge or tuned (default: that of "
                   "the configuration)")
      ->check(CLI::IsMember({"discriminant", "trained", "ridge", "tuned"}));
  build->add_flag("--wait", options->wait, "Wait until it is published");
  command_line.AddCommand(group, "list", "All releases, newest first",
                          ListReleases);
  auto name = std::make_shared<std::string>("latest");
  CLI::App* show = command_line.AddCommand(
      group, "show", "A release, its experts and evaluations",
      [name](const cli::CommandContext& context) {
        return ShowRelease(*name, context);
      });
  show->add_option("name", *name, "Number or 'latest'")->capture_default_str();
  return group;
}

}  // namespace tributary::coordinator
