#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// As in the public API.
enum class ContributionState {
  kCreated,
  kUploading,
  kSubmitted,
  kValidating,
  kAccepted,
  kQuarantined,
  kRejected,
  kWithdrawn,
  kPurged,
};

// "CREATED", ...
std::string_view ToString(ContributionState state);
std::optional<ContributionState> ParseContributionState(std::string_view text);

struct ContributionRow {
  int64_t sequence = 0;
  std::string id;
  std::string contributor;
  ContributionState state = ContributionState::kCreated;
  std::string anchor_digest;
  std::string blob;  // name of the expert file
  // Of further blobs, which count against quotas; read by Add alone.
  int64_t extra_bytes = 0;
  std::string manifest_digest;
  std::string manifest_json;  // empty once purged
  std::string envelope_json;  // empty once purged
  std::string decision_json;  // empty while there is none
  int64_t create_time_s = 0;
  int64_t update_time_s = 0;
  // Of its withdrawal; 0 without one. Not written by Add.
  int64_t delete_time_s = 0;
  int64_t purge_time_s = 0;
};

// Which contributions a list holds; what is empty does not narrow it.
struct ContributionFilter {
  std::string contributor;
  std::optional<ContributionState> state;
  std::string anchor_digest;
};

class ContributionStore {
 public:
  explicit ContributionStore(Transaction& transaction)
      : transaction_(transaction) {}

  void Add(const ContributionRow& row);
  std::optional<ContributionRow> Find(std::string_view id);
  // Newest first, with a sequence below `before`.
  std::vector<ContributionRow> List(const ContributionFilter& filter,
                                    int64_t before, int64_t limit);
  // ACCEPTED for that anchor, by id.
  std::vector<ContributionRow> ListAccepted(std::string_view anchor_digest);
  std::vector<std::string> ListAcceptedIds(std::string_view anchor_digest);
  int64_t CountAccepted();
  // {"ACCEPTED", 3}, ...; states without any are left out.
  std::vector<std::pair<std::string, int64_t>> CountByState();
  // Contributions of a contributor that are not WITHDRAWN or PURGED.
  int64_t CountLive(std::string_view contributor);

  void SetState(std::string_view id, ContributionState state, int64_t now_s);
  void SetDecision(std::string_view id, std::string_view decision_json,
                   int64_t now_s);
  // A purged contribution keeps its name and digests only.
  void Erase(std::string_view id);

 private:
  Transaction& transaction_;
};

}  // namespace tributary::coordinator
