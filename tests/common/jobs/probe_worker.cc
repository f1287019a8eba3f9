// A worker whose tasks are chosen to go wrong: "--job" as every worker.

#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "common/worker/worker_main.h"

namespace tributary::worker {
namespace {

// Misuses model_inspect: the directory names what to do.
Status Misbehave(const job::Task& task, const TaskContext& context,
                 job::TaskResult* result) {
  const std::string& what = task.model_inspect().model().directory();
  if (what == "crash") {
    std::abort();
  }
  if (what == "allocate") {
    std::vector<char> memory(8ull << 30, 'x');
    result->mutable_model_inspect()->set_description_json(
        std::to_string(memory.size()));
  }
  if (what == "hang") {
    while (!context.cancellation.IsCancelled()) {
      usleep(10'000);
    }
  }
  if (what == "refuse") {
    return InvalidArgument("this input is wrong");
  }
  context.Report(1.0, "done");
  return absl::OkStatus();
}

}  // namespace
}  // namespace tributary::worker

int main(int argc, char** argv) {
  return tributary::worker::WorkerMain(
      argc, argv,
      {{tributary::job::Task::kModelInspect, tributary::worker::Misbehave}});
}
