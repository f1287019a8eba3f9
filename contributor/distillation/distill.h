#pragma once

#include <filesystem>

#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "contributor/distillation/distillation_loss.h"
#include "contributor/training/train_expert.h"

namespace tributary::contributor {

struct DistillTask {
  // The student; initial_path is the pruned expert.
  InitialExpertOptions initial;
  // The full-width expert, beside the same anchor with the same rows.
  std::filesystem::path teacher_path;
  TrunkFiles data;
  DistillationOptions distillation;
  TrainerOptions trainer;
  // The teacher's answers; made when they are not there. Given ones are never
  // replaced: FAILED_PRECONDITION when they are another teacher's.
  std::filesystem::path cache_path;
  bool cache_is_given = false;
};

// Trains the student towards the teacher. A fifth of the progress is the
// teacher's pass. Errors as TrainExpert; besides, FAILED_PRECONDITION for a
// teacher that was trained beside another anchor.
StatusOr<TrainingOutcome> Distill(const model::CausalLm& anchor,
                                  const DistillTask& task);

}  // namespace tributary::contributor
