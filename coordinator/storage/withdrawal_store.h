#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// As in the public API.
enum class WithdrawalState { kWithdrawn, kRebuilt, kPurged };

// "WITHDRAWN", ...
std::string_view ToString(WithdrawalState state);

// An opt-out; its id is the contribution's.
struct WithdrawalRow {
  int64_t sequence = 0;
  std::string contribution;
  WithdrawalState state = WithdrawalState::kWithdrawn;
  std::string anchor_digest;
  std::optional<int64_t> new_release;
  // Names of the blobs that the purge deletes, one a line: set before the
  // first of them goes.
  std::string deleted_blobs;
  std::string receipt_json;
  std::string final_receipt_json;
  int64_t create_time_s = 0;
  int64_t purge_time_s = 0;
  // Who asked on the owner's behalf and why; empty when the owner did.
  std::string requested_by;
  std::string reason;
  // Why a later step failed last; 0 is OK.
  int error_code = 0;
  std::string error_message;
  // Numbers of the releases it took out of service.
  std::vector<int64_t> withdrawn_releases;
};

class WithdrawalStore {
 public:
  explicit WithdrawalStore(Transaction& transaction)
      : transaction_(transaction) {}

  void Add(const WithdrawalRow& row);
  std::optional<WithdrawalRow> Find(std::string_view contribution);
  // Newest first, with a sequence below `before`.
  std::vector<WithdrawalRow> List(int64_t before, int64_t limit);

  void SetNewRelease(std::string_view contribution,
                     std::optional<int64_t> release);
  void SetState(std::string_view contribution, WithdrawalState state);
  void SetDeletedBlobs(std::string_view contribution, std::string_view names);
  void SetFinalReceipt(std::string_view contribution, std::string_view json);
  void SetError(std::string_view contribution, int code,
                std::string_view message);

 private:
  void ReadReleases(WithdrawalRow& row);

  Transaction& transaction_;
};

}  // namespace tributary::coordinator
