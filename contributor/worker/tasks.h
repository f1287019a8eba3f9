#pragma once

// The contributor's tasks of job.proto: messages to option structs and back.

#include "common/worker/worker_main.h"

namespace tributary::contributor {

// PrepareText, Calibrate, FitRouter, EvaluateDomain.
void AddStatisticsTasks(worker::TaskRegistry& registry);

// Train, Distill, ExportExpert.
void AddExpertTasks(worker::TaskRegistry& registry);

// Prune, MergeImportance, CompareImportance, ImportExpert.
void AddPruningTasks(worker::TaskRegistry& registry);

// CompareRows.
void AddRouterTasks(worker::TaskRegistry& registry);

}  // namespace tributary::contributor
