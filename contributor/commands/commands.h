#pragma once

#include "common/cli/command_line.h"

namespace tributary::contributor {

// One function for each group of commands; all declare themselves on `line`.
void AddInitCommand(cli::CommandLine& line);
void AddPreflightCommand(cli::CommandLine& line);
void AddStatusCommand(cli::CommandLine& line);
void AddRunCommand(cli::CommandLine& line);
// train, calibrate, prune, distill, export: on the pipeline or on files; import
// and overlap on files.
void AddStageCommands(cli::CommandLine& line);
// study: widths of a full expert, on explicit files.
void AddStudyCommand(cli::CommandLine& line);
void AddEvaluateCommand(cli::CommandLine& line);
// egress show, approve, ledger; submit.
void AddEgressCommands(cli::CommandLine& line);
// withdraw; withdrawal verify.
void AddWithdrawCommands(cli::CommandLine& line);
void AddReleaseCommands(cli::CommandLine& line);

}  // namespace tributary::contributor
