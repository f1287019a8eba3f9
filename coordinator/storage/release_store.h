#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// As in the public API. PUBLISHED is the newest one that is served, if any;
// SUPERSEDED ones are served too.
enum class ReleaseState {
  kBuilding,
  kPublished,
  kSuperseded,
  kWithdrawn,
  kFailed,
};

// "BUILDING", ...
std::string_view ToString(ReleaseState state);

struct ReleaseRow {
  int64_t number = 0;
  ReleaseState state = ReleaseState::kBuilding;
  std::string anchor_digest;
  std::string router_mode;
  std::string digest;         // of the manifest; empty while building
  std::string manifest_json;  // empty while building and once purged
  std::string envelope_json;  // likewise
  std::string reason;         // why it failed or was withdrawn
  int64_t create_time_s = 0;

  bool served() const {
    return state == ReleaseState::kPublished ||
           state == ReleaseState::kSuperseded;
  }
};

struct EvaluationRow {
  std::string evaluator;   // "coordinator" or contributors/x
  std::string text_label;  // "public", ...
  std::string model;       // "anchor", "own", "release"
  double log_loss = 0;     // nats per token
  int64_t tokens = 0;
};

class ReleaseStore {
 public:
  explicit ReleaseStore(Transaction& transaction) : transaction_(transaction) {}

  // A new release in state BUILDING of these contributions; its number.
  int64_t Create(std::string_view anchor_digest, std::string_view router_mode,
                 const std::vector<std::string>& contributions, int64_t now_s);
  // A release of that number which is not served and whose parts are gone.
  void AddWithdrawn(const ReleaseRow& row);
  std::optional<ReleaseRow> Find(int64_t number);
  // The newest that is served.
  std::optional<ReleaseRow> Latest();
  // Newest first, with a number below `before`.
  std::vector<ReleaseRow> List(int64_t before, int64_t limit);
  // Ids, bytewise.
  std::vector<std::string> ContributionsOf(int64_t number);
  // Releases that hold a contribution, in any state, oldest first.
  std::vector<ReleaseRow> ListHolding(std::string_view contribution);

  // Publishes: this one becomes PUBLISHED, the previous one SUPERSEDED.
  void Publish(const ReleaseRow& row);
  // Sets a state with a reason, then lets PUBLISHED be the newest served one.
  void SetState(int64_t number, ReleaseState state, std::string_view reason);
  // A purged release keeps its number and digest only.
  void Erase(int64_t number);

  // Replaces what this evaluator said about this release before.
  void PutEvaluations(int64_t number, std::string_view evaluator,
                      const std::vector<EvaluationRow>& evaluations);
  std::vector<EvaluationRow> EvaluationsOf(int64_t number);

 private:
  void RefreshLatest();

  Transaction& transaction_;
};

}  // namespace tributary::coordinator
