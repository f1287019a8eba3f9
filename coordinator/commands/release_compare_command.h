#pragma once

#include <string>

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `release compare` to the group `release`: the release beside other ways
// to make one model of its experts, measured by the worker `worker_name`.
void AddReleaseCompareCommand(cli::CommandLine& command_line, CLI::App& group,
                              const std::string& worker_name);

}  // namespace tributary::coordinator
