#pragma once

#include <functional>
#include <string>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/pipeline/contribute.h"

namespace tributary::contributor {

struct WithdrawOptions {
  std::string contribution;  // id
  // Follow it until the expert's bytes are deleted.
  enum class Wait { kNo, kUntilPurged } wait = Wait::kNo;
  const CancellationToken* cancellation = nullptr;
  // Told at every change of state.
  std::function<void(const v1::Withdrawal&)> on_change;
  // For tests: replaces sleeping between two questions.
  std::function<void(double seconds)> sleep;
};

// Opts out, verifies and stores the receipts and writes the ledger. With
// kUntilPurged it returns once the purge is done, or, when the federation's
// grace period makes that more than a minute away, once a release without the
// expert is out. Repeating it is harmless.
StatusOr<v1::Withdrawal> Withdraw(const PipelineContext& context,
                                  const WithdrawOptions& options);

}  // namespace tributary::contributor
