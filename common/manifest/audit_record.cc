#include "common/manifest/audit_record.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"
#include "common/manifest/statement.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kWhat = "audit checkpoint";
constexpr JsonLimits kLimits = {.max_bytes = 4096, .max_depth = 4};

Json ToValue(const AuditCheckpoint& checkpoint) {
  return {{"federation", checkpoint.federation},
          {"size", checkpoint.size},
          {"head_hash", checkpoint.head_hash},
          {"time_s", checkpoint.time_s}};
}

Subject SubjectOf(const AuditCheckpoint& checkpoint) {
  return {.name = "audit", .sha256 = checkpoint.head_hash};
}

}  // namespace

StatusOr<std::string> AuditCheckpoint::ToJson() const {
  ASSIGN_OR_RETURN(std::string json, CanonicalJson(ToValue(*this)));
  RETURN_IF_ERROR(FromJson(json).status());
  return json;
}

StatusOr<AuditCheckpoint> AuditCheckpoint::FromJson(std::string_view json) {
  JsonDocument document(kWhat, json, kLimits);
  const JsonReader root = document.root();
  AuditCheckpoint checkpoint{.federation = root.Field("federation").Id(),
                             .size = root.Field("size").Int(0),
                             .head_hash = root.Field("head_hash").Digest(),
                             .time_s = root.Field("time_s").Int(0)};
  if ((checkpoint.size == 0) != (checkpoint.head_hash == kGenesisHash)) {
    root.Field("head_hash")
        .Fail(fmt::format("got {} for {} records, wanted zeros for none only",
                          checkpoint.head_hash, checkpoint.size));
  }
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(CheckCanonical(kWhat, json, ToValue(checkpoint)));
  return checkpoint;
}

StatusOr<std::string> SignAuditCheckpoint(const AuditCheckpoint& checkpoint,
                                          const crypto::PrivateKey& signer) {
  ASSIGN_OR_RETURN(std::string json, checkpoint.ToJson());
  return SignStatement({.kind = std::string(kAuditCheckpointKind),
                        .subjects = {SubjectOf(checkpoint)},
                        .predicate_json = std::move(json)},
                       signer);
}

StatusOr<AuditCheckpoint> OpenAuditCheckpoint(std::string_view envelope_json,
                                              const crypto::PublicKey& signer) {
  ASSIGN_OR_RETURN(const Statement statement,
                   OpenStatement(envelope_json, kAuditCheckpointKind, signer));
  ASSIGN_OR_RETURN(AuditCheckpoint checkpoint,
                   AuditCheckpoint::FromJson(statement.predicate_json));
  RETURN_IF_ERROR(CheckSubject(statement, SubjectOf(checkpoint)));
  return checkpoint;
}

Status CheckCheckpointOrder(const AuditCheckpoint& older,
                            const AuditCheckpoint& newer) {
  if (older.federation != newer.federation) {
    return DataLoss("audit log: of federation \"{}\", wanted \"{}\"",
                    newer.federation, older.federation);
  }
  if (newer.size < older.size) {
    return DataLoss(
        "audit log: got {} records, wanted at least {}: records "
        "that were there are missing",
        newer.size, older.size);
  }
  if (newer.size == older.size && newer.head_hash != older.head_hash) {
    return DataLoss(
        "audit log: got hash {} at {} records, wanted {}: history was changed",
        newer.head_hash, newer.size, older.head_hash);
  }
  if (newer.time_s < older.time_s && newer.size > older.size) {
    return DataLoss(
        "audit log: its checkpoint of {} records is older than "
        "that of {}",
        newer.size, older.size);
  }
  return absl::OkStatus();
}

}  // namespace tributary::manifest
