#pragma once

#include <string>

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `release report` to the group `release`, and `analyse` to the group
// `model`. Texts are run through models by the worker `worker_name`.
void AddReleaseReportCommand(cli::CommandLine& command_line, CLI::App& group,
                             const std::string& worker_name);
void AddAnalyseCommand(cli::CommandLine& command_line, CLI::App& group,
                       const std::string& worker_name);

}  // namespace tributary::coordinator
