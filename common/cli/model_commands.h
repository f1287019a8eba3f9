#pragma once

#include <string>

#include "common/cli/command_line.h"

namespace tributary::cli {

// Adds `model inspect|logits|evaluate|generate|tokenize`. The work is done by
// the sandboxed worker `worker_name`, which lies beside this executable.
void AddModelCommands(CommandLine& command_line,
                      const std::string& worker_name);

}  // namespace tributary::cli
