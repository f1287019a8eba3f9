#include "common/manifest/chain_record.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/crypto/digest.h"
#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kWhat = "record";
constexpr JsonLimits kLimits = {.max_bytes = 1u << 20, .max_depth = 16};

StatusOr<Json> ToValue(const ChainRecord& record) {
  StatusOr<Json> detail = ParseJson(record.detail_json, kLimits);
  if (!detail.ok()) {
    return Annotate(detail.status(), "record: detail");
  }
  return Json{{"index", record.index},
              {"time_s", record.time_s},
              {"actor", record.actor},
              {"action", record.action},
              {"subject", record.subject},
              {"detail", *std::move(detail)},
              {"previous_hash", record.previous_hash}};
}

}  // namespace

StatusOr<std::string> ChainRecord::ToJson() const {
  ASSIGN_OR_RETURN(const Json value, ToValue(*this));
  ASSIGN_OR_RETURN(std::string json, CanonicalJson(value));
  RETURN_IF_ERROR(FromJson(json).status());
  return json;
}

StatusOr<ChainRecord> ChainRecord::FromJson(std::string_view json) {
  JsonDocument document(kWhat, json, kLimits);
  const JsonReader root = document.root();
  ChainRecord record{.index = root.Field("index").Int(0),
                     .time_s = root.Field("time_s").Int(0),
                     .actor = root.Field("actor").String(1, 512),
                     .action = root.Field("action").String(1, 64),
                     .subject = root.Field("subject").String(0, 512),
                     .detail_json = root.Field("detail").ObjectText(),
                     .previous_hash = root.Field("previous_hash").Digest()};
  RETURN_IF_ERROR(document.Finish());
  ASSIGN_OR_RETURN(const Json value, ToValue(record));
  RETURN_IF_ERROR(CheckCanonical(kWhat, json, value));
  return record;
}

StatusOr<std::string> ChainRecord::Hash() const {
  ASSIGN_OR_RETURN(const std::string json, ToJson());
  return crypto::Sha256Hex(json);
}

StatusOr<std::string> Chain::Append(ChainRecord record) {
  record.index = size_;
  record.previous_hash = head_hash_;
  ASSIGN_OR_RETURN(std::string json, record.ToJson());
  head_hash_ = crypto::Sha256Hex(json);
  ++size_;
  return json;
}

StatusOr<ChainRecord> Chain::Verify(std::string_view record_json) {
  StatusOr<ChainRecord> record = ChainRecord::FromJson(record_json);
  if (!record.ok()) {
    return DataLoss("record {}: {}", size_,
                    std::string(record.status().message()));
  }
  if (record->index != size_) {
    return DataLoss("record {}: got index {}, wanted {}", size_, record->index,
                    size_);
  }
  if (record->previous_hash != head_hash_) {
    return DataLoss("record {}: got previous_hash {}, wanted {}", size_,
                    record->previous_hash, head_hash_);
  }
  head_hash_ = crypto::Sha256Hex(record_json);
  ++size_;
  return record;
}

}  // namespace tributary::manifest
