#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// One blob of one contribution on its way in.
struct UploadRow {
  std::string contribution;
  std::string blob;       // name
  std::string upload_id;  // of the partial in the blob store
  int64_t size_bytes = 0;
  // Durable: written, fsynced and recorded. Never decreases.
  int64_t committed_size = 0;
  bool complete = false;
  // Every stream that takes the upload over raises it; older streams end.
  int64_t epoch = 0;
  int64_t expire_time_s = 0;
  // Opaque, of the blob store: how hashing goes on at committed_size.
  std::string hash_state;
};

class UploadStore {
 public:
  explicit UploadStore(Transaction& transaction) : transaction_(transaction) {}

  std::optional<UploadRow> Find(std::string_view contribution,
                                std::string_view blob);
  // Inserts or replaces.
  void Put(const UploadRow& row);
  // Records progress and the row's hash_state. False when another stream has
  // taken the upload over (its epoch differs) or the row is gone.
  bool SetCommitted(const UploadRow& row, int64_t committed_size,
                    int64_t expire_time_s);
  bool SetComplete(const UploadRow& row);
  void Remove(std::string_view contribution, std::string_view blob);

  std::vector<UploadRow> ListOf(std::string_view contribution);
  // Unfinished uploads that expired before `now_s`.
  std::vector<UploadRow> ListExpired(int64_t now_s);
  // Unfinished ones, by contribution and blob.
  std::vector<UploadRow> ListUnfinished(int64_t limit);
  std::vector<std::string> ListIds();
  // Whether the contributor has this blob complete in a contribution that is
  // not withdrawn.
  bool HasComplete(std::string_view contributor, std::string_view blob);
  // Bytes that a contributor's live contributions hold or announce, apart from
  // `except_contribution`.
  int64_t ReservedBytes(std::string_view contributor,
                        std::string_view except_contribution);

 private:
  Transaction& transaction_;
};

}  // namespace tributary::coordinator
