#include "coordinator/commands/rotate_commands.h"

#include <memory>

#include "common/base/random.h"
#include "common/base/text.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"

namespace tributary::coordinator {
namespace {

std::string Describe(const v1::TrustState& state) {
  std::string text = fmt::format(
      "CA                    {}, until {}\n"
      "server certificate    {}, until {}\n"
      "operator certificate  {}, until {}",
      state.ca_fingerprint(),
      FormatTime(static_cast<double>(state.ca_expire_time_s())),
      state.server_certificate_fingerprint(),
      FormatTime(static_cast<double>(state.server_certificate_expire_time_s())),
      state.operator_certificate_fingerprint(),
      FormatTime(
          static_cast<double>(state.operator_certificate_expire_time_s())));
  if (state.next_ca_fingerprint().empty()) {
    return text;
  }
  text += fmt::format(
      "\nnext CA               {}, since {}\n"
      "contributors          {} have its certificate, {} do not yet",
      state.next_ca_fingerprint(),
      FormatTime(static_cast<double>(state.rotation_start_time_s())),
      state.renewed_contributors(), state.waiting_contributors_count());
  for (const std::string& name : state.waiting_contributors()) {
    text += "\n  " + name;
  }
  return text;
}

template <typename Request>
Status RunRotation(const cli::CommandContext& context,
                   grpc::Status (v1::TrustService::Stub::*method)(
                       grpc::ClientContext*, const Request&, v1::TrustState*),
                   const Request& request, const std::string& done) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(const v1::TrustState state,
                   client->Call(client->trust(), method, request));
  context.output.Print(done + Describe(state), MessageJson(state));
  return absl::OkStatus();
}

using Stub = v1::TrustService::Stub;

void AddCaCommands(cli::CommandLine& command_line, CLI::App& group) {
  CLI::App& ca = *group.add_subcommand("ca", "Replace the federation's CA");
  ca.require_subcommand(1);
  command_line.AddCommand(
      ca, "start",
      "Make a new CA beside the present one; contributors renew with it at "
      "their next contact",
      [](const cli::CommandContext& context) {
        v1::StartCaRotationRequest request;
        request.set_request_id(RandomUuid());
        return RunRotation(context, &Stub::StartCaRotation, request,
                           "A new CA issues; both are trusted until `rotate ca "
                           "finish`. Back up the home now.\n");
      });
  auto force = std::make_shared<bool>(false);
  CLI::App* finish = command_line.AddCommand(
      ca, "finish", "End trust in the old CA",
      [force](const cli::CommandContext& context) {
        v1::FinishCaRotationRequest request;
        request.set_request_id(RandomUuid());
        request.set_force(*force);
        return RunRotation(
            context, &Stub::FinishCaRotation, request,
            "The old CA is no longer trusted. Invitations that were "
            "not used and homes of readers have to be made again. Back "
            "up the home now.\n");
      });
  finish->add_flag("--force", *force,
                   "Although contributors have not renewed: they need new "
                   "invitations then");
}

}  // namespace

void AddRotateCommands(cli::CommandLine& command_line) {
  CLI::App& group = *command_line.AddGroup(
      "rotate",
      "New keys for the server, the operator and the federation's CA");
  command_line.AddCommand(group, "status",
                          "Certificates, and how far a change of the CA is",
                          [](const cli::CommandContext& context) {
                            return RunRotation(context, &Stub::GetTrustState,
                                               v1::GetTrustStateRequest(), "");
                          });
  command_line.AddCommand(
      group, "server",
      "Give the server a new key and certificate; open connections go on",
      [](const cli::CommandContext& context) {
        v1::RotateServerKeyRequest request;
        request.set_request_id(RandomUuid());
        return RunRotation(context, &Stub::RotateServerKey, request,
                           "The server has a new key.\n");
      });
  command_line.AddCommand(
      group, "operator",
      "Give the operator a new key; whoever has a copy of the old one is "
      "refused from the next call on",
      [](const cli::CommandContext& context) {
        v1::RotateOperatorKeyRequest request;
        request.set_request_id(RandomUuid());
        return RunRotation(context, &Stub::RotateOperatorKey, request,
                           "The operator has a new key, in keys/ of the home. "
                           "Back up the home now.\n");
      });
  AddCaCommands(command_line, group);
}

}  // namespace tributary::coordinator
