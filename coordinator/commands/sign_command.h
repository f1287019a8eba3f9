#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// `release sign`, below `group`.
void AddSignCommand(cli::CommandLine& command_line, CLI::App& group);

}  // namespace tributary::coordinator
