// The contributor's worker: runs one tensor job and ends.

#include "common/worker/model_tasks.h"
#include "common/worker/worker_main.h"
#include "contributor/worker/tasks.h"

int main(int argc, char** argv) {
  tributary::worker::TaskRegistry registry;
  tributary::worker::AddModelTasks(registry);
  tributary::contributor::AddStatisticsTasks(registry);
  tributary::contributor::AddExpertTasks(registry);
  tributary::contributor::AddPruningTasks(registry);
  tributary::contributor::AddRouterTasks(registry);
  return tributary::worker::WorkerMain(argc, argv, std::move(registry));
}
