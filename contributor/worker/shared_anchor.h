#pragma once

#include <filesystem>

#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "common/worker/worker_main.h"

namespace tributary::contributor {

// The anchor of a task: loaded once for all tasks of a job that need no more
// layers than were loaded (those from `first_layer` on) and keep weights in the
// same dtype. Prepares the tensor library for the job's threads and device.
StatusOr<model::CausalLm> SharedAnchor(const worker::TaskContext& context,
                                       const std::filesystem::path& directory,
                                       int64_t first_layer,
                                       at::ScalarType dtype = at::kFloat);

}  // namespace tributary::contributor
