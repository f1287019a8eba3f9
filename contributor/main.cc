#include <cstdlib>

#include "common/cli/command_line.h"
#include "common/cli/model_commands.h"
#include "contributor/commands/commands.h"

int main(int argc, char** argv) {
  namespace cli = tributary::cli;
  namespace contributor = tributary::contributor;
  // Errors of connections are reported once, by the command that meets them.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  cli::CommandLine line(
      {.name = "tributary-contributor",
       .description = "Turns private text into one expert of a common model; "
                      "only approved weights leave the site.",
       .home_variable = "TRIBUTARY_CONTRIBUTOR_HOME",
       .default_home = ".tributary/contributor"});
  contributor::AddInitCommand(line);
  contributor::AddPreflightCommand(line);
  contributor::AddStatusCommand(line);
  contributor::AddRunCommand(line);
  contributor::AddStageCommands(line);
  contributor::AddStudyCommand(line);
  contributor::AddEvaluateCommand(line);
  contributor::AddEgressCommands(line);
  contributor::AddWithdrawCommands(line);
  contributor::AddReleaseCommands(line);
  cli::AddModelCommands(line, "tributary-contributor-worker");
  return line.Run(argc, argv);
}
