#pragma once

#include <string>

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `release export` and `release import-model` to the group `release`. The
// work on weights is done by the worker `worker_name` beside this executable.
void AddReleaseExportCommands(cli::CommandLine& command_line, CLI::App& group,
                              const std::string& worker_name);

}  // namespace tributary::coordinator
