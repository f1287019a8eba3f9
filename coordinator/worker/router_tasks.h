#pragma once

#include "common/worker/worker_main.h"

namespace tributary::coordinator {

// Adds the tasks that make routers: solve_ridge, tune_router.
void AddRouterTasks(worker::TaskRegistry& registry);

}  // namespace tributary::coordinator
