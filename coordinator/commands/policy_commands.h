#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// `contributor show` and `contributor set-policy`, below `group`.
void AddPolicyCommands(cli::CommandLine& command_line, CLI::App& group);

}  // namespace tributary::coordinator
