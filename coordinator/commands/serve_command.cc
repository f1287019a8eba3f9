#include "coordinator/commands/serve_command.h"

#include <chrono>
#include <memory>
#include <thread>

#include "common/base/log.h"
#include "coordinator/admission/task_runner.h"
#include "coordinator/commands/config_file.h"
#include "coordinator/release/router_modes.h"
#include "coordinator/service/server.h"

namespace tributary::coordinator {
namespace {

constexpr std::chrono::milliseconds kPoll(100);

Status ServeCoordinator(const cli::CommandContext& context) {
  const Home home(context.home);
  ASSIGN_OR_RETURN(Settings settings, LoadSettings(home));
  if (const std::string caution = RouterModeCaution(settings.routing.mode);
      !caution.empty()) {
    log::Warning("{}", caution);
  }
  ASSIGN_OR_RETURN(
      std::unique_ptr<TaskRunner> runner,
      WorkerTaskRunner::Create(settings.worker, home.root() / "worker.log"));
  ASSIGN_OR_RETURN(const std::unique_ptr<Server> server,
                   Server::Start({.home = home.root(),
                                  .settings = std::move(settings),
                                  .version = TRIBUTARY_VERSION},
                                 std::move(runner)));
  log::Info("serving on {}; SIGTERM or Ctrl-C drains", server->address());
  while (!context.cancellation.IsCancelled()) {
    std::this_thread::sleep_for(kPoll);
  }
  log::Info("draining");
  server->Shutdown();
  log::Info("stopped");
  return absl::OkStatus();
}

}  // namespace

void AddServeCommand(cli::CommandLine& command_line) {
  command_line.AddCommand(
      command_line.app(), "serve",
      "Run the coordinator until SIGTERM or Ctrl-C; writes HOME/address",
      ServeCoordinator);
}

}  // namespace tributary::coordinator
