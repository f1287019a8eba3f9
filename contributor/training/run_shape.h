#pragma once

#include "common/base/status.h"
#include "contributor/budget/training_memory.h"
#include "contributor/training/train_expert.h"

namespace tributary::contributor {

struct RunShapeOptions {
  bool distils = false;
  int64_t frozen_element_bytes = 4;
};

// What the arithmetic of memory needs to know of a run, from its files' headers
// alone. Errors as the reading of those files.
StatusOr<TrainingShape> ShapeOfRun(const InitialExpertOptions& initial,
                                   const TrunkFiles& data,
                                   const TrainerOptions& trainer,
                                   const RunShapeOptions& options);

}  // namespace tributary::contributor
