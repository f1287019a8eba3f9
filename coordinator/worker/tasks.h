#pragma once

#include "common/worker/worker_main.h"

namespace tributary::coordinator {

// Adds the coordinator's tasks: anchor_statistics, validate_expert,
// evaluate_release, export_hugging_face.
void AddCoordinatorTasks(worker::TaskRegistry& registry);

}  // namespace tributary::coordinator
