#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// Adds `model serve` to the group `model`.
void AddModelServeCommand(cli::CommandLine& command_line, CLI::App& model,
                          const std::string& worker_name);

}  // namespace tributary::coordinator
