#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "coordinator/release/release_builder.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/withdrawal_store.h"

namespace tributary::coordinator {

// The slow half of an opt-out: a release of the survivors, then the purge.
class WithdrawalJob {
 public:
  WithdrawalJob(const Core& core, ReleaseBuilder& builder)
      : core_(core), builder_(builder) {}

  // WITHDRAWN -> REBUILT -> PURGED. Returns when to run again (seconds since
  // the Unix epoch) while the purge is not due, or nothing when all is done.
  // A rebuild that the release policy refuses does not hold up the purge: the
  // withdrawal then names the error and no new release. Errors: run it again.
  StatusOr<std::optional<int64_t>> Run(const std::string& contribution,
                                       const JobContext& context);

  // Attempts after which a rebuild that keeps failing is given up.
  static constexpr int64_t kMaxRebuildAttempts = 5;

 private:
  Status Rebuild(const std::string& contribution, const JobContext& context);
  // The release to build or that is there already; nothing when none is needed.
  StatusOr<std::optional<int64_t>> ChooseRelease(
      const std::string& contribution);

  const Core& core_;
  ReleaseBuilder& builder_;
};

}  // namespace tributary::coordinator
