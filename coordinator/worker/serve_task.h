#pragma once

#include "common/worker/worker_main.h"

namespace tributary::coordinator {

// Adds model_serve: a model that answers requests (inference.proto) until
// standard input ends.
void AddServeTask(worker::TaskRegistry& registry);

}  // namespace tributary::coordinator
