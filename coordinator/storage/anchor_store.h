#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

struct AnchorRow {
  int64_t sequence = 0;
  std::string id;
  std::string digest;  // of the manifest
  // Digest over everything that was imported: repeating an import finds it.
  std::string import_digest;
  std::string manifest_json;
  std::string envelope_json;
  int64_t create_time_s = 0;
};

// Published anchors; the newest is the current one.
class AnchorStore {
 public:
  explicit AnchorStore(Transaction& transaction) : transaction_(transaction) {}

  void Add(const AnchorRow& row);
  std::optional<AnchorRow> Find(std::string_view id);
  std::optional<AnchorRow> FindByDigest(std::string_view digest);
  std::optional<AnchorRow> Current();
  // Newest first, with a sequence below `before`.
  std::vector<AnchorRow> List(int64_t before, int64_t limit);

 private:
  Transaction& transaction_;
};

}  // namespace tributary::coordinator
