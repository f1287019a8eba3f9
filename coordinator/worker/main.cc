// The coordinator's worker: opens models and experts of strangers in a
// sandbox, one job a process.

#include "common/worker/model_tasks.h"
#include "common/worker/worker_main.h"
#include "coordinator/worker/release_tasks.h"
#include "coordinator/worker/router_tasks.h"
#include "coordinator/worker/serve_task.h"
#include "coordinator/worker/tasks.h"

int main(int argc, char** argv) {
  tributary::worker::TaskRegistry registry;
  tributary::worker::AddModelTasks(registry);
  tributary::coordinator::AddCoordinatorTasks(registry);
  tributary::coordinator::AddReleaseTasks(registry);
  tributary::coordinator::AddServeTask(registry);
  tributary::coordinator::AddRouterTasks(registry);
  return tributary::worker::WorkerMain(argc, argv, std::move(registry));
}
