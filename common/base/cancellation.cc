#include "common/base/cancellation.h"

#include <signal.h>
#include <unistd.h>

namespace tributary {
namespace {

CancellationToken signal_token;

void OnSignal(int) {
  if (signal_token.IsCancelled()) {
    _exit(130);
  }
  signal_token.Cancel();
}

}  // namespace

CancellationToken& InstallSignalCancellation() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signal_token;
}

}  // namespace tributary
