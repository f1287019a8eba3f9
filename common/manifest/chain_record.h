#pragma once

// Append-only histories: each record holds the hash of the one before it, so
// that the newest hash fixes everything.

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::manifest {

// `previous_hash` of the first record: 64 zeros.
inline constexpr std::string_view kGenesisHash =
    "0000000000000000000000000000000000000000000000000000000000000000";

struct ChainRecord {
  int64_t index = 0;    // from 0, without gaps
  int64_t time_s = 0;   // seconds since the Unix epoch
  std::string actor;    // who: an identity URI, "coordinator", a person
  std::string action;   // what, such as "contribution.accept"
  std::string subject;  // on what, such as "contributions/a"; may be empty
  std::string detail_json = "{}";  // an object; canonical after FromJson
  std::string previous_hash{kGenesisHash};

  // Canonical JSON {action, actor, detail, index, previous_hash, subject,
  // time_s}. INVALID_ARGUMENT for what FromJson would refuse.
  StatusOr<std::string> ToJson() const;
  // INVALID_ARGUMENT naming the field that is unknown, missing or wrong, and
  // for bytes that are not canonical.
  static StatusOr<ChainRecord> FromJson(std::string_view json);
  // SHA-256 of ToJson(), hexadecimal.
  StatusOr<std::string> Hash() const;

  friend bool operator==(const ChainRecord&, const ChainRecord&) = default;
};

// Follows a chain from any point on: appending and verifying are the same.
class Chain {
 public:
  // An empty chain, or one of `size` records that ends with `head_hash`.
  Chain() = default;
  Chain(int64_t size, std::string head_hash)
      : size_(size), head_hash_(std::move(head_hash)) {}

  // Fills index and previous_hash of the next record and takes it in. Returns
  // its canonical bytes, which are what to store.
  StatusOr<std::string> Append(ChainRecord record);
  // Takes in stored bytes. DATA_LOSS when they are not the next record of this
  // chain.
  StatusOr<ChainRecord> Verify(std::string_view record_json);

  int64_t size() const { return size_; }
  const std::string& head_hash() const { return head_hash_; }

 private:
  int64_t size_ = 0;
  std::string head_hash_{kGenesisHash};
};

}  // namespace tributary::manifest
