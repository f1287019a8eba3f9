#include "coordinator/commands/contributor_commands.h"

#include <memory>

#include "common/base/files.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/manifest/resource_name.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"
#include "coordinator/commands/paged_list.h"
#include "coordinator/commands/policy_commands.h"

namespace tributary::coordinator {
namespace {

struct InviteOptions {
  std::string id;
  std::string expires = "72h";
  std::string output;
};

constexpr unsigned kPrivateMode = 0600;  // the file holds a secret

Status Invite(const InviteOptions& options,
              const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const double lifetime, ParseDuration(options.expires));
  std::error_code error;
  if (std::filesystem::exists(options.output, error)) {
    return absl::AlreadyExistsError(
        options.output + ": exists already; an invitation is not overwritten");
  }
  v1::CreateInvitationRequest request;
  request.set_request_id(RandomUuid());
  request.set_contributor_id(options.id);
  request.set_lifetime_s(static_cast<int64_t>(lifetime));
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::CreateInvitationResponse response,
      client->Call(client->admin(), &v1::AdminService::Stub::CreateInvitation,
                   request));
  RETURN_IF_ERROR(WriteFileAtomic(options.output, response.invitation_json(),
                                  kPrivateMode));
  context.output.Print(
      fmt::format("wrote {}: it works once, within {}; hand it to '{}' over a "
                  "trusted way",
                  options.output, options.expires, options.id),
      {{"output", options.output}, {"contributor_id", options.id}});
  return absl::OkStatus();
}

Status ListContributors(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const auto contributors,
      ListAll<v1::Contributor>(
          *client, client->admin(), &v1::AdminService::Stub::ListContributors,
          [](const v1::ListContributorsResponse& page) -> const auto& {
            return page.contributors();
          }));
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "SINCE", "CERTIFICATE UNTIL"}};
  nlohmann::json values = nlohmann::json::array();
  for (const v1::Contributor& contributor : contributors) {
    const auto expires =
        static_cast<double>(contributor.certificate_expire_time_s());
    rows.push_back(
        {contributor.name(), contributor.state(),
         FormatTime(static_cast<double>(contributor.create_time_s())),
         expires > 0 ? FormatTime(expires) : "-"});
    values.push_back(MessageJson(contributor));
  }
  context.output.Print(cli::FormatTable(rows), {{"contributors", values}});
  return absl::OkStatus();
}

Status ListInvitations(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const auto invitations,
      ListAll<v1::Invitation>(
          *client, client->admin(), &v1::AdminService::Stub::ListInvitations,
          [](const v1::ListInvitationsResponse& page) -> const auto& {
            return page.invitations();
          }));
  std::vector<std::vector<std::string>> rows = {
      {"CONTRIBUTOR", "SINCE", "UNTIL"}};
  nlohmann::json values = nlohmann::json::array();
  for (const v1::Invitation& invitation : invitations) {
    rows.push_back(
        {invitation.contributor(),
         FormatTime(static_cast<double>(invitation.create_time_s())),
         FormatTime(static_cast<double>(invitation.expire_time_s()))});
    values.push_back(MessageJson(invitation));
  }
  context.output.Print(cli::FormatTable(rows), {{"invitations", values}});
  return absl::OkStatus();
}

Status Uninvite(const std::string& id, const cli::CommandContext& context) {
  v1::DeleteInvitationRequest request;
  request.set_request_id(RandomUuid());
  request.set_name(
      manifest::FullResourceName(manifest::Collection::kInvitations, id));
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::Invitation invitation,
      client->Call(client->admin(), &v1::AdminService::Stub::DeleteInvitation,
                   request));
  context.output.Print(fmt::format("the invitation of {} no longer works",
                                   invitation.contributor()),
                       MessageJson(invitation));
  return absl::OkStatus();
}

Status RevokeContributor(const std::string& id,
                         const cli::CommandContext& context) {
  v1::RevokeContributorRequest request;
  request.set_request_id(RandomUuid());
  request.set_name(
      manifest::FullResourceName(manifest::Collection::kContributors, id));
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::Contributor contributor,
      client->Call(client->admin(), &v1::AdminService::Stub::RevokeContributor,
                   request));
  context.output.Print(fmt::format("{} is {} and refused from its next call on",
                                   contributor.name(), contributor.state()),
                       MessageJson(contributor));
  return absl::OkStatus();
}

}  // namespace

void AddContributorCommands(cli::CommandLine& command_line) {
  CLI::App& group =
      *command_line.AddGroup("contributor", "Data owners and their identities");
  auto options = std::make_shared<InviteOptions>();
  CLI::App* invite =
      command_line.AddCommand(group, "invite", "Make a single-use invitation",
                              [options](const cli::CommandContext& context) {
                                return Invite(*options, context);
                              });
  invite
      ->add_option("--id", options->id,
                   "Id of the contributor: a-z, 0-9 and hyphens")
      ->required();
  invite->add_option("--expires", options->expires, "How long it can be used")
      ->capture_default_str();
  invite->add_option("--output", options->output, "File to write")->required();
  command_line.AddCommand(group, "list", "All contributors", ListContributors);
  command_line.AddCommand(group, "invitations",
                          "Invitations that can still be used",
                          ListInvitations);
  auto invited = std::make_shared<std::string>();
  CLI::App* uninvite = command_line.AddCommand(
      group, "uninvite", "Take an unused invitation back",
      [invited](const cli::CommandContext& context) {
        return Uninvite(*invited, context);
      });
  uninvite->add_option("id", *invited, "Id of the contributor")->required();
  AddPolicyCommands(command_line, group);
  auto id = std::make_shared<std::string>();
  CLI::App* revoke = command_line.AddCommand(
      group, "revoke", "Refuse a contributor from its next call on",
      [id](const cli::CommandContext& context) {
        return RevokeContributor(*id, context);
      });
  revoke->add_option("id", *id, "Id of the contributor")->required();
}

}  // namespace tributary::coordinator
