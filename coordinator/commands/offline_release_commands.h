#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `release merge` and `release verify` to the group `release`: they work
// on files and need no server.
void AddOfflineReleaseCommands(cli::CommandLine& command_line, CLI::App& group,
                               const std::string& worker_name);

}  // namespace tributary::coordinator
