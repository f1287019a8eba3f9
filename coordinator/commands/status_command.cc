#include "coordinator/commands/status_command.h"

#include "common/base/text.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"

namespace tributary::coordinator {
namespace {

Status ShowStatus(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::GetStatusResponse status,
      client->Call(client->admin(), &v1::AdminService::Stub::GetStatus,
                   v1::GetStatusRequest()));
  std::string text = fmt::format(
      "federation      {}\nversion         {}\ncontributors    {}\n"
      "accepted        {}\nlatest release  {}\nblobs           {}\n"
      "audit records   {}\n",
      status.federation(), status.version(), status.contributors(),
      status.accepted_contributions(),
      status.latest_release().empty() ? "-" : status.latest_release(),
      HumanBytes(static_cast<uint64_t>(status.blob_bytes())),
      status.audit_records());
  for (const v1::Job& job : status.jobs()) {
    text += fmt::format("job             {} {} {}\n", job.state(), job.kind(),
                        job.subject());
  }
  for (const std::string& blob : status.missing_blobs()) {
    text += fmt::format("MISSING         {} (see `audit verify`)\n", blob);
  }
  context.output.Print(text, MessageJson(status));
  return absl::OkStatus();
}

}  // namespace

void AddStatusCommand(cli::CommandLine& command_line) {
  command_line.AddCommand(command_line.app(), "status",
                          "What the server is doing", ShowStatus);
}

}  // namespace tributary::coordinator
