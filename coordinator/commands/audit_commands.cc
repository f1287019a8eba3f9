#include "coordinator/commands/audit_commands.h"

#include "coordinator/storage/audit_log.h"
#include "coordinator/storage/database.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {
namespace {

Status Verify(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(
      const auto database,
      Database::Open(Home(context.home).database(), Database::Mode::kReadOnly));
  ASSIGN_OR_RETURN(
      const manifest::Chain chain, database->Get([](Transaction& transaction) {
        return AuditLog(transaction).Verify([](const manifest::AuditRecord&) {
        });
      }));
  context.output.Print(
      fmt::format("{} records, unbroken; head {}", chain.size(), chain.head_hash()),
      {{"records", chain.size()}, {"head_hash", chain.head_hash()}});
  return absl::OkStatus();
}

}  // namespace

void AddAuditCommands(cli::CommandLine& command_line) {
  CLI::App& group =
      *command_line.AddGroup("audit", "The history of every decision");
  command_line.AddCommand(
      group, "verify", "Follow the chain of the audit log to its end", Verify);
}

}  // namespace tributary::coordinator
