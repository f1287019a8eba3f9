#pragma once

#include "common/worker/worker_main.h"

namespace tributary::coordinator {

// Adds what is done with finished releases: export_hugging_face, export_gguf,
// analyse_routing, split_mixture.
void AddReleaseTasks(worker::TaskRegistry& registry);

}  // namespace tributary::coordinator
