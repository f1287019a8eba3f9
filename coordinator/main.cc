#include "common/cli/command_line.h"
#include "common/cli/model_commands.h"
#include "coordinator/commands/anchor_commands.h"
#include "coordinator/commands/audit_commands.h"
#include "coordinator/commands/contribution_commands.h"
#include "coordinator/commands/contributor_commands.h"
#include "coordinator/commands/dashboard_command.h"
#include "coordinator/commands/init_command.h"
#include "coordinator/commands/maintenance_commands.h"
#include "coordinator/commands/model_serve_command.h"
#include "coordinator/commands/offline_release_commands.h"
#include "coordinator/commands/reader_command.h"
#include "coordinator/commands/release_commands.h"
#include "coordinator/commands/release_compare_command.h"
#include "coordinator/commands/release_export_command.h"
#include "coordinator/commands/release_report_command.h"
#include "coordinator/commands/rotate_commands.h"
#include "coordinator/commands/serve_command.h"
#include "coordinator/commands/sign_command.h"
#include "coordinator/commands/status_command.h"
#include "coordinator/commands/withdrawal_commands.h"

int main(int argc, char** argv) {
  constexpr char kWorker[] = "tributary-coordinator-worker";
  tributary::cli::CommandLine line(
      {.name = "tributary-coordinator",
       .description = "Publishes an anchor model, takes experts in, merges them "
                      "into releases, takes experts out again.",
       .home_variable = "TRIBUTARY_COORDINATOR_HOME",
       .default_home = ".tributary/coordinator"});
  using namespace tributary::coordinator;  // NOLINT(google-build-using-namespace)
  AddInitCommand(line);
  AddServeCommand(line);
  AddStatusCommand(line);
  AddDashboardCommand(line);
  AddAnchorCommands(line);
  AddContributorCommands(line);
  AddReaderCommand(line);
  AddContributionCommands(line);
  CLI::App& release = AddReleaseCommands(line);
  AddOfflineReleaseCommands(line, release, kWorker);
  AddReleaseExportCommands(line, release, kWorker);
  AddReleaseCompareCommand(line, release, kWorker);
  AddSignCommand(line, release);
  AddReleaseReportCommand(line, release, kWorker);
  AddWithdrawalCommands(line);
  AddAuditCommands(line);
  AddRotateCommands(line);
  AddMaintenanceCommands(line);
  tributary::cli::AddModelCommands(line, kWorker);
  AddModelServeCommand(line, *line.app().get_subcommand("model"), kWorker);
  AddAnalyseCommand(line, *line.app().get_subcommand("model"), kWorker);
  return line.Run(argc, argv);
}
