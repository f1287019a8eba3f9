#include "common/manifest/receipts.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"
#include "common/manifest/statement.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kWithdrawalWhat = "withdrawal receipt";
constexpr std::string_view kPurgeWhat = "purge receipt";
constexpr JsonLimits kLimits = {.max_bytes = 4u << 20, .max_depth = 6};
constexpr size_t kMaxReleases = 100'000;
constexpr size_t kMaxBlobs = 10'000;

Json ToValue(const ReleaseReference& release) {
  return {{"name", release.name}, {"digest", release.digest}};
}

Json ToValue(const std::vector<ReleaseReference>& releases) {
  Json list = Json::array();
  for (const ReleaseReference& release : releases) {
    list.push_back(ToValue(release));
  }
  return list;
}

Json ToValue(const AuditHead& audit) {
  return {{"size", audit.size}, {"head_hash", audit.head_hash}};
}

Json ToValue(const WithdrawalReceipt& receipt) {
  Json value = {{"federation", receipt.federation},
                {"contribution", receipt.contribution},
                {"contributor", receipt.contributor},
                {"expert_blob", receipt.expert_blob.ToString()},
                {"withdrawn_releases", ToValue(receipt.withdrawn_releases)},
                {"withdraw_time_s", receipt.withdraw_time_s},
                {"purge_time_s", receipt.purge_time_s},
                {"audit", ToValue(receipt.audit)}};
  if (receipt.on_behalf) {
    value["on_behalf"] = {{"by", receipt.on_behalf->by},
                          {"reason", receipt.on_behalf->reason}};
  }
  return value;
}

Json ToValue(const PurgeReceipt& receipt) {
  Json deleted = Json::array();
  for (const BlobName& blob : receipt.deleted_blobs) {
    deleted.push_back(blob.ToString());
  }
  Json kept = Json::array();
  for (const PurgeReceipt::KeptBlob& blob : receipt.kept_blobs) {
    kept.push_back({{"blob", blob.blob.ToString()}, {"reason", blob.reason}});
  }
  return {{"federation", receipt.federation},
          {"contribution", receipt.contribution},
          {"contributor", receipt.contributor},
          {"expert_blob", receipt.expert_blob.ToString()},
          {"deleted_blobs", std::move(deleted)},
          {"kept_blobs", std::move(kept)},
          {"withdrawn_releases", ToValue(receipt.withdrawn_releases)},
          {"new_release",
           receipt.new_release ? ToValue(*receipt.new_release) : Json(nullptr)},
          {"purge_time_s", receipt.purge_time_s},
          {"audit", ToValue(receipt.audit)},
          {"outside", receipt.outside}};
}

ReleaseReference ReadReference(const JsonReader& reader) {
  return {.name = reader.Field("name").Release(),
          .digest = reader.Field("digest").Digest()};
}

std::vector<ReleaseReference> ReadReferences(const JsonReader& reader) {
  std::vector<ReleaseReference> releases;
  for (const JsonReader& release : reader.List(0, kMaxReleases)) {
    releases.push_back(ReadReference(release));
  }
  return releases;
}

AuditHead ReadAudit(const JsonReader& reader) {
  return {.size = reader.Field("size").Int(0),
          .head_hash = reader.Field("head_hash").Digest()};
}

// Both receipts are about the expert file of a contribution.
template <typename Receipt>
Subject SubjectOf(const Receipt& receipt) {
  return {.name = receipt.contribution, .sha256 = receipt.expert_blob.sha256};
}

// Canonical JSON that the receipt's own reader accepts.
template <typename Receipt>
StatusOr<std::string> CheckedJson(const Receipt& receipt) {
  ASSIGN_OR_RETURN(std::string json, CanonicalJson(ToValue(receipt)));
  RETURN_IF_ERROR(Receipt::FromJson(json).status());
  return json;
}

template <typename Receipt>
StatusOr<std::string> SignReceipt(const Receipt& receipt, std::string_view kind,
                                  const crypto::PrivateKey& signer) {
  ASSIGN_OR_RETURN(std::string json, receipt.ToJson());
  return SignStatement({.kind = std::string(kind),
                        .subjects = {SubjectOf(receipt)},
                        .predicate_json = std::move(json)},
                       signer);
}

template <typename Receipt>
StatusOr<Receipt> OpenReceipt(std::string_view envelope_json,
                              std::string_view kind,
                              const crypto::PublicKey& signer) {
  ASSIGN_OR_RETURN(const Statement statement,
                   OpenStatement(envelope_json, kind, signer));
  ASSIGN_OR_RETURN(Receipt receipt,
                   Receipt::FromJson(statement.predicate_json));
  RETURN_IF_ERROR(CheckSubject(statement, SubjectOf(receipt)));
  return receipt;
}

}  // namespace

StatusOr<std::string> WithdrawalReceipt::ToJson() const {
  return CheckedJson(*this);
}

StatusOr<WithdrawalReceipt> WithdrawalReceipt::FromJson(std::string_view json) {
  JsonDocument document(kWithdrawalWhat, json, kLimits);
  const JsonReader root = document.root();
  WithdrawalReceipt receipt{
      .federation = root.Field("federation").Id(),
      .contribution = root.Field("contribution").Id(),
      .contributor = root.Field("contributor").Id(),
      .expert_blob = root.Field("expert_blob").Blob(),
      .withdrawn_releases = ReadReferences(root.Field("withdrawn_releases")),
      .withdraw_time_s = root.Field("withdraw_time_s").Int(0),
      .purge_time_s = root.Field("purge_time_s").Int(0),
      .audit = ReadAudit(root.Field("audit")),
      .on_behalf = std::nullopt};
  if (const auto on_behalf = root.OptionalField("on_behalf")) {
    receipt.on_behalf = {.by = on_behalf->Field("by").String(1, 512),
                         .reason = on_behalf->Field("reason").String(1, 1024)};
  }
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(CheckCanonical(kWithdrawalWhat, json, ToValue(receipt)));
  return receipt;
}

StatusOr<std::string> PurgeReceipt::ToJson() const {
  return CheckedJson(*this);
}

StatusOr<PurgeReceipt> PurgeReceipt::FromJson(std::string_view json) {
  JsonDocument document(kPurgeWhat, json, kLimits);
  const JsonReader root = document.root();
  PurgeReceipt receipt{
      .federation = root.Field("federation").Id(),
      .contribution = root.Field("contribution").Id(),
      .contributor = root.Field("contributor").Id(),
      .expert_blob = root.Field("expert_blob").Blob(),
      .deleted_blobs = {},
      .kept_blobs = {},
      .withdrawn_releases = ReadReferences(root.Field("withdrawn_releases")),
      .new_release = std::nullopt,
      .purge_time_s = root.Field("purge_time_s").Int(0),
      .audit = ReadAudit(root.Field("audit")),
      .outside = {}};
  for (const JsonReader& blob :
       root.Field("deleted_blobs").List(0, kMaxBlobs)) {
    receipt.deleted_blobs.push_back(blob.Blob());
  }
  for (const JsonReader& kept : root.Field("kept_blobs").List(0, kMaxBlobs)) {
    receipt.kept_blobs.push_back(
        {.blob = kept.Field("blob").Blob(),
         .reason = kept.Field("reason").String(1, 1024)});
  }
  if (const auto release = root.Field("new_release").Nullable()) {
    receipt.new_release = ReadReference(*release);
  }
  for (const JsonReader& line : root.Field("outside").List(0, 64)) {
    receipt.outside.push_back(line.String(1, 1024));
  }
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(CheckCanonical(kPurgeWhat, json, ToValue(receipt)));
  return receipt;
}

StatusOr<std::string> SignWithdrawalReceipt(const WithdrawalReceipt& receipt,
                                            const crypto::PrivateKey& signer) {
  return SignReceipt(receipt, kWithdrawalReceiptKind, signer);
}

StatusOr<WithdrawalReceipt> OpenWithdrawalReceipt(
    std::string_view envelope_json, const crypto::PublicKey& signer) {
  return OpenReceipt<WithdrawalReceipt>(envelope_json, kWithdrawalReceiptKind,
                                        signer);
}

StatusOr<std::string> SignPurgeReceipt(const PurgeReceipt& receipt,
                                       const crypto::PrivateKey& signer) {
  return SignReceipt(receipt, kPurgeReceiptKind, signer);
}

StatusOr<PurgeReceipt> OpenPurgeReceipt(std::string_view envelope_json,
                                        const crypto::PublicKey& signer) {
  return OpenReceipt<PurgeReceipt>(envelope_json, kPurgeReceiptKind, signer);
}

}  // namespace tributary::manifest
