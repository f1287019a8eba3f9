#pragma once

#include "common/model/load.h"
#include "common/worker/worker_main.h"

namespace tributary::worker {

// Adds the tasks that look at, run and measure a model: model_inspect,
// model_logits, model_evaluate, model_generate, model_tokenize.
void AddModelTasks(TaskRegistry& registry);

// The plain form of a message.
model::Source FromProto(const job::ModelSource& source);

// A field's value, or `standard` where it is not set.
template <typename T>
T Or(T value, T standard) {
  return value != T() ? value : standard;
}

// Loads a model in the precision that the message names.
StatusOr<model::CausalLm> LoadModel(const job::ModelSource& source,
                                    const TaskContext& context);

// Prepares the tensor library for the job: threads, allocator, device.
StatusOr<model::LoadOptions> LoadOptionsFor(const TaskContext& context);

}  // namespace tributary::worker
