#pragma once

#include "common/cli/command_line.h"

namespace tributary::coordinator {

// `reader issue`: the home of somebody who reads anchors and releases only.
void AddReaderCommand(cli::CommandLine& command_line);

}  // namespace tributary::coordinator
