#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// `rotate status`, `rotate server`, `rotate ca start`, `rotate ca finish`: new
// keys for a federation that works.
void AddRotateCommands(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
