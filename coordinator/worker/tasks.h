#pragma once

#include "common/worker/worker_main.h"

namespace tributary::coordinator {

// Adds the tasks of anchors and of building releases: anchor_statistics,
// validate_expert, evaluate_release.
void AddCoordinatorTasks(worker::TaskRegistry& registry);

}  // namespace tributary::coordinator
